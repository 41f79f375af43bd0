CREATE TABLE `kept_channels` (
	`name` text PRIMARY KEY NOT NULL,
	`topics` integer NOT NULL,
	`history_bytes` integer NOT NULL
);
--> statement-breakpoint
ALTER TABLE `topics` ADD `channel` text DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE `topics` ADD `is_retained` integer DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE `topics` ADD `due_at` integer;--> statement-breakpoint
CREATE INDEX `topics_due` ON `topics` (`due_at`) WHERE "topics"."due_at" is not null;--> statement-breakpoint
CREATE INDEX `topics_idle` ON `topics` (`channel`,`changed_at`) WHERE "topics"."messages" = 0 and "topics"."is_retained" = 0;--> statement-breakpoint
UPDATE `topics` SET `is_retained` = 1 WHERE `number` IN (SELECT `number` FROM `retained`);--> statement-breakpoint
INSERT INTO `kept_channels` (`name`, `topics`, `history_bytes`) SELECT '', count(*), sum(`bytes`) FROM `topics` HAVING count(*) > 0;
