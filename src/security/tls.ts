/**
 * The broker's certificate [P-14.3]: read from its files, judged before it is used, and read anew when
 * the files change. And what a client's certificate says, once it has been verified.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { stat } from "node:fs/promises";
import { rootCertificates } from "node:tls";
import type { ClientPrincipal, TlsSettings } from "../../schemas/identity.ts";
import type { Clock, Timer } from "../clock.ts";
import { certificateName } from "./certificate-names.ts";

/** How often the files are looked at for a change. */
export const CERTIFICATE_LOOK_MS = 30_000;
const FILE_BYTES_MAX = 1024 * 1024;
/** Bits of a file's mode that let users beyond its owner and group at it. */
const OTHERS = 0o007;

/** Everything that TLS needs, as PEM. */
export interface TlsMaterial {
  readonly cert: string;
  readonly key: string;
  /** Who may have signed the certificates of clients. */
  readonly ca: string | undefined;
  readonly minVersion: "TLSv1.2" | "TLSv1.3";
  readonly clientCertificate: "none" | "request" | "require";
}

/** A client's certificate whose signature and dates have been verified. */
export interface ClientCertificate {
  readonly der: Buffer;
  /** Milliseconds since 1970 UTC, both. */
  readonly validFrom: number;
  readonly validTo: number;
}

/** Whether the broker itself speaks TLS. */
export function hasTls({ certFile, keyFile }: TlsSettings): boolean {
  return certFile !== undefined && keyFile !== undefined;
}

/** Reads the files. Throws an Error that says what is wrong and what to do. */
export function readTls(settings: TlsSettings, now: number): TlsMaterial {
  const { certFile = "", keyFile = "", caFile, minVersion, clientCertificate } = settings;
  const cert = readPem(certFile);
  const key = readPem(keyFile);
  const mode = statSync(keyFile).mode;
  if ((mode & OTHERS) !== 0 && process.platform !== "win32") {
    throw new Error(`Every user of this machine can get at ${keyFile}: chmod 600 ${keyFile}`);
  }
  assertPair(cert, key, { certFile, keyFile }, now);
  const ca = caFile === undefined ? undefined : readPem(caFile);
  if (ca !== undefined && caFile !== undefined) certificateOf(ca, caFile);
  return { cert, key, ca, minVersion, clientCertificate };
}

function assertPair(
  cert: string,
  key: string,
  { certFile, keyFile }: { certFile: string; keyFile: string },
  now: number,
): void {
  const certificate = certificateOf(cert, certFile);
  let fits: boolean;
  try {
    fits = certificate.checkPrivateKey(createPrivateKey(key));
  } catch {
    throw new Error(`${keyFile} holds no private key in PEM without a passphrase.`);
  }
  if (!fits)
    throw new Error(`The key in ${keyFile} is not that of the certificate in ${certFile}.`);
  if (Date.parse(certificate.validTo) <= now) {
    throw new Error(`The certificate in ${certFile} expired on ${certificate.validTo}; renew it.`);
  }
}

function certificateOf(pem: string, path: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw new Error(`${path} holds no certificate in PEM.`);
  }
}

function readPem(path: string): string {
  const text = readFileSync(path, "utf8");
  if (text.length > FILE_BYTES_MAX) throw new Error(`${path} is too large for a PEM file.`);
  return text;
}

/** One thing that is wrong with the settings, by the name of the setting. */
export interface TlsFault {
  readonly setting: keyof TlsSettings;
  readonly message: string;
}

/** What is wrong with the settings of TLS, with what to do about each. */
export function tlsFaults(settings: TlsSettings, now: number): TlsFault[] {
  const { certFile, keyFile, caFile, clientCertificate, clientPrincipal } = settings;
  const faults: TlsFault[] = [];
  const demand = (holds: boolean, setting: keyof TlsSettings, message: string) => {
    if (!holds) faults.push({ setting, message });
  };
  const asks = clientCertificate !== "none";
  const halves = certFile === undefined ? "certFile" : "keyFile";
  demand(
    (certFile === undefined) === (keyFile === undefined),
    halves,
    "is missing: TLS needs both",
  );
  demand(
    !asks || certFile !== undefined,
    "clientCertificate",
    "needs TLS here: set tls.certFile and tls.keyFile",
  );
  demand(
    !asks || caFile !== undefined,
    "caFile",
    `is missing: clients' certificates are checked against it, and not against the ${rootCertificates.length} ` +
      "authorities of the web, who would sign anybody's",
  );
  demand(
    asks || caFile === undefined,
    "caFile",
    "is of no use while tls.clientCertificate is none: set it to request or require",
  );
  demand(
    asks || clientPrincipal === undefined,
    "clientPrincipal",
    "is of no use while tls.clientCertificate is none: set it to request or require",
  );
  if (faults.length > 0 || !hasTls(settings)) return faults;
  try {
    readTls(settings, now);
  } catch (error) {
    faults.push({ setting: "certFile", message: (error as Error).message });
  }
  return faults;
}

/** The name that the rule finds in a certificate, with its prefix; undefined when it finds no one name. */
export function principalOf(
  { der }: ClientCertificate,
  { from, prefix = "" }: ClientPrincipal,
): string | undefined {
  const name = certificateName(der, from);
  return name === undefined ? undefined : `${prefix}${name}`;
}

/** Looks at the files again and again, and calls when one of them is another than before. */
export class CertificateWatch {
  readonly #paths: readonly string[];
  readonly #clock: Clock;
  readonly #changed: () => void;
  #seen: string | undefined;
  #timer: Timer | undefined;
  /** How often it has looked. */
  looks = 0;
  #stopped = false;

  constructor(settings: TlsSettings, clock: Clock, changed: () => void) {
    const { certFile, keyFile, caFile } = settings;
    this.#paths = [certFile, keyFile, caFile].filter((path) => path !== undefined);
    this.#clock = clock;
    this.#changed = changed;
  }

  async start(): Promise<void> {
    this.#seen = await this.#look();
    this.#wait();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #wait(): void {
    if (this.#stopped) return;
    this.#timer = this.#clock.after(CERTIFICATE_LOOK_MS, async () => {
      const seen = await this.#look();
      if (!this.#stopped && seen !== this.#seen) {
        this.#seen = seen;
        this.#changed();
      }
      this.looks++;
      this.#wait();
    });
  }

  async #look(): Promise<string> {
    const marks = this.#paths.map(async (path) => {
      const found = await stat(path).catch(() => undefined);
      return found === undefined ? "" : `${found.ino} ${found.size} ${found.mtimeMs}`;
    });
    return (await Promise.all(marks)).join();
  }
}
