ALTER TABLE `messages` ADD `scheduled` text;--> statement-breakpoint
CREATE INDEX `messages_scheduled` ON `messages` (`scheduled`) WHERE "messages"."scheduled" is not null;