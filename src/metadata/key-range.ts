/** The smallest key that is greater than every key with `prefix`; undefined when no key is greater. */
export function prefixEnd(prefix: Uint8Array): Buffer | undefined {
  for (let length = prefix.length; length > 0; length -= 1) {
    const last = prefix[length - 1];
    if (last !== undefined && last < 0xff) {
      const end = Buffer.from(prefix.subarray(0, length));
      end[length - 1] = last + 1;
      return end;
    }
  }
  return undefined;
}

/** Orders keys by their UTF-8 bytes, as etcd and LMDB do; `<` on strings orders UTF-16 units instead. */
export function compareKeys(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}
