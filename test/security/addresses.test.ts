/** Addresses, ranges and groups of them; whose request it is behind a proxy [P-14.11, P-14.12]. */
import { describe, expect, test } from "bun:test";
import {
  AddressRanges,
  addressGroup,
  canonicalAddress,
  canonicalRange,
  parseAddress,
  parseRange,
} from "../../src/security/addresses.ts";
import { createClientAddresses } from "../../src/security/proxies.ts";
import { fuzzSeeds, seededRandom } from "../harness/seeded-random.ts";

const within = (range: string, address: string): boolean => {
  const ranges = new AddressRanges<string>();
  ranges.add(parseRange(range)!, range);
  return ranges.find(parseAddress(address)!, () => true) !== undefined;
};

describe("[P-14.11] addresses", () => {
  test("[P-14.5] each has one spelling, however it is written", () => {
    const same: [string, string][] = [
      ["203.0.113.7", "203.0.113.7"],
      ["::ffff:203.0.113.7", "203.0.113.7"],
      ["::FFFF:cb00:7107", "203.0.113.7"],
      ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
      ["[2001:db8::1]", "2001:db8::1"],
      ["fe80::1%eth0", "fe80::1"],
      ["::", "::"],
      ["64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
      ["no address", "no address"],
    ];
    for (const [written, spelt] of same) expect(canonicalAddress(written)).toBe(spelt);
  });

  test("[P-14.5] ranges hold what they say and nothing else, in both families", () => {
    const table: [string, string, boolean][] = [
      ["10.0.0.0/8", "10.255.1.2", true],
      ["10.0.0.0/8", "11.0.0.0", false],
      ["10.9.9.9/8", "10.1.1.1", true],
      ["203.0.113.7", "203.0.113.7", true],
      ["203.0.113.7", "203.0.113.8", false],
      ["203.0.113.7", "::ffff:203.0.113.7", true],
      ["::ffff:203.0.113.0/120", "203.0.113.9", true],
      ["0.0.0.0/0", "255.255.255.255", true],
      ["0.0.0.0/0", "::1", false],
      ["::/0", "1.2.3.4", false],
      ["2001:db8::/32", "2001:db8:ffff::1", true],
      ["2001:db8::/32", "2001:db9::", false],
      ["2001:db8::1", "2001:db8::1", true],
      ["2001:db8::/127", "2001:db8::2", false],
    ];
    for (const [range, address, inside] of table) {
      expect([range, address, within(range, address)]).toEqual([range, address, inside]);
    }
  });

  test("[P-14.5] what is no range is none", () => {
    const none = [
      "",
      "/8",
      "10.0.0.0/33",
      "10.0.0/8",
      "::/129",
      "1.2.3.4/-1",
      "a/8",
      "::ffff:1.2.3.4/8",
    ];
    for (const text of [...none, "1.2.3.4/8/8", "010.0.0.1", "1.2.3.4 "]) {
      expect([text, parseRange(text)]).toEqual([text, undefined]);
    }
    expect(canonicalRange(parseRange("2001:DB8:1::/48")!)).toBe("2001:db8:1::/48");
    expect(canonicalRange(parseRange("10.1.2.3/8")!)).toBe("10.0.0.0/8");
  });

  test("[P-14.11] an IPv6 address counts as its /64, an IPv4 address as itself", () => {
    expect(addressGroup("2001:db8:1:2:3:4:5:6")).toBe("2001:db8:1:2::/64");
    expect(addressGroup("2001:db8:1:2::1")).toBe("2001:db8:1:2::/64");
    expect(addressGroup("2001:db8:1:3::1")).toBe("2001:db8:1:3::/64");
    expect(addressGroup("203.0.113.7")).toBe("203.0.113.7");
    expect(addressGroup("")).toBe("");
  });

  test("[P-14.11] the /64 is the same however the address is spelt, and that of the range", () => {
    const random = seededRandom(fuzzSeeds(1)[0]!);
    const words = ["0", "0", "0", "1", "ab", "00ab", "0DB8", "ffff", "2001"];
    const pick = () => words[Math.floor(random() * words.length)]!;
    for (let n = 0; n < 20_000; n++) {
      const all = Array.from({ length: 8 }, pick);
      if (random() < 0.2) all.splice(6, 2, "192.0.2.33");
      // A gap somewhere, in the place of zeros or not.
      const from = Math.floor(random() * all.length);
      const length = Math.floor(random() * (all.length - from)) + 1;
      const spelt =
        random() < 0.3
          ? all.join(":")
          : `${all.slice(0, from).join(":")}::${all.slice(from + length).join(":")}`;
      const address = parseAddress(spelt);
      if (address === undefined || address.bits === 32) {
        expect([spelt, addressGroup(spelt)]).toEqual([spelt, spelt]);
        continue;
      }
      const value = (address.value >> 64n) << 64n;
      const group = canonicalRange({ bits: 128, prefix: 64, value });
      expect([spelt, addressGroup(spelt)]).toEqual([spelt, group]);
      expect(addressGroup(`[${spelt}%eth0]`)).toBe(group);
    }
    for (const odd of ["::", "::1", "1::", ":", ":::", "1::2::3", "%", "[::1", "::ffff:1.2.3.4"]) {
      expect(() => addressGroup(odd)).not.toThrow();
    }
    expect(addressGroup("::1")).toBe("::/64");
  });

  test("[P-14.5] thousands of ranges are found one by one, and gone when they are removed", () => {
    const ranges = new AddressRanges<number>();
    const range = (n: number) => parseRange(`10.${n >> 8}.${n & 255}.0/24`)!;
    for (let n = 0; n < 20_000; n++) ranges.add(range(n), n);
    for (let n = 0; n < 20_000; n += 7) {
      const address = parseAddress(`10.${n >> 8}.${n & 255}.99`)!;
      expect(ranges.find(address, () => true)).toBe(n);
      ranges.remove(range(n), n);
      expect(ranges.find(address, () => true)).toBeUndefined();
    }
  });
});

describe("[P-14.12] who the client is", () => {
  const of = (trusted: string[], peer: string, forwarded?: string) =>
    createClientAddresses(trusted).of(
      new Headers(forwarded === undefined ? {} : { "X-Forwarded-For": forwarded }),
      peer,
    );

  test("[P-14.12] nobody is believed who is not trusted", () => {
    expect(of([], "198.51.100.1", "203.0.113.7")).toBe("198.51.100.1");
    expect(of(["10.0.0.0/8"], "198.51.100.1", "203.0.113.7")).toBe("198.51.100.1");
    expect(of(["10.0.0.0/8"], "10.0.0.1")).toBe("10.0.0.1");
  });

  test("[P-14.12] the rightmost address that is not a trusted proxy's, whatever stands left of it", () => {
    const trusted = ["10.0.0.0/8", "2001:db8:ffff::/48"];
    expect(of(trusted, "::ffff:10.0.0.1", "203.0.113.7")).toBe("203.0.113.7");
    expect(of(trusted, "10.0.0.1", "1.1.1.1, 203.0.113.7")).toBe("203.0.113.7");
    expect(of(trusted, "10.0.0.1", "1.1.1.1, 203.0.113.7, 10.2.3.4")).toBe("203.0.113.7");
    expect(of(trusted, "2001:db8:ffff::1", "2001:DB8::9")).toBe("2001:db8::9");
    expect(of(trusted, "10.0.0.1", "203.0.113.7:4711")).toBe("203.0.113.7");
    expect(of(trusted, "10.0.0.1", "[2001:db8::9]:4711")).toBe("2001:db8::9");
  });

  test("[P-14.12] what is no address is not passed over", () => {
    const trusted = ["10.0.0.0/8"];
    expect(of(trusted, "10.0.0.1", "203.0.113.7, unknown")).toBe("10.0.0.1");
    expect(of(trusted, "10.0.0.1", "203.0.113.7,, 10.2.3.4")).toBe("10.2.3.4");
    expect(of(trusted, "10.0.0.1", "")).toBe("10.0.0.1");
    expect(of(trusted, "10.0.0.1", "10.0.0.3, 10.0.0.2")).toBe("10.0.0.3");
  });

  test("[P-14.12] a range that is none is named", () => {
    expect(() => createClientAddresses(["proxy.example"])).toThrow('"proxy.example"');
  });
});
