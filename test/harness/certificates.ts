/**
 * Certificates for one test, made by `openssl` in a directory of its own and gone with it: no private
 * key is ever part of the repository.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const OPENSSL = Bun.which("openssl");
if (OPENSSL === null) process.stdout.write("SKIPPED-MISSING-PROGRAM: openssl\n");

/** A certificate with its key, as files and as PEM. */
export interface MadeCertificate {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: string;
  readonly key: string;
}

export class Authority implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), "warren-certificates-"));
  readonly caFile = join(this.directory, "ca.pem");
  readonly #keyFile = join(this.directory, "ca.key");

  constructor() {
    const name = ["-subj", "/CN=Authority of a test", "-days", "2"];
    openssl("req", "-x509", ...newKey(this.#keyFile), "-out", this.caFile, ...name);
  }

  get ca(): string {
    return readFileSync(this.caFile, "utf8");
  }

  /** Signs a certificate for a subject such as `/CN=me`, with names such as `DNS:localhost`. */
  make(file: string, subject: string, altNames?: string): MadeCertificate {
    const at = (ending: string) => join(this.directory, `${file}.${ending}`);
    const [certFile, keyFile] = [at("pem"), at("key")];
    // Read as the section of a file, a name may hold commas.
    const lines = (altNames ?? "").split(";").map((one, i) => one.replace(":", `.${i} = `));
    const names =
      altNames === undefined ? "" : `subjectAltName=@names\n[names]\n${lines.join("\n")}`;
    writeFileSync(at("ext"), `basicConstraints=CA:FALSE\n${names}\n`);
    openssl("req", "-utf8", ...newKey(keyFile), "-out", at("csr"), "-subj", subject);
    const by = ["-CA", this.caFile, "-CAkey", this.#keyFile, "-CAcreateserial", "-days", "2"];
    openssl("x509", "-req", "-in", at("csr"), "-out", certFile, "-extfile", at("ext"), ...by);
    const [cert, key] = [readFileSync(certFile, "utf8"), readFileSync(keyFile, "utf8")];
    return { certFile, keyFile, cert, key };
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function newKey(keyFile: string): string[] {
  return [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
    "-keyout",
    keyFile,
  ];
}

function openssl(...words: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync([OPENSSL ?? "openssl", ...words]);
  if (exitCode !== 0) throw new Error(`openssl ${words.join(" ")}: ${stderr}`);
}
