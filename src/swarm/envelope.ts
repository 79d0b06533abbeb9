/** How Connect frames the messages of a stream: a byte of flags, four of length (big-endian), then the message. */

/** The message is compressed. Stores never ask for that. */
export const compressedFlag = 1;
/** The last envelope of an answer: JSON, which holds the error if there was one. */
export const endStreamFlag = 2;

const headerBytes = 5;

/** @returns One envelope, header and message in one buffer, so that one write sends it. */
export function encodeEnvelope(flags: number, message: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(headerBytes + message.length);
  bytes.writeUInt8(flags, 0);
  bytes.writeUInt32BE(message.length, 1);
  bytes.set(message, headerBytes);
  return bytes;
}

/** Cuts what arrives into envelopes. One that came in a single chunk, as most do, is not copied. */
export class EnvelopeReader {
  readonly #messageBytesMax: number;
  readonly #onEnvelope: (flags: number, message: Buffer) => void;
  /** The header, or the envelope, that is not all there yet. */
  #partial: Buffer | undefined;
  #partialFilledBytes = 0;

  /** @param onEnvelope - May throw; {@link push} throws it on. */
  constructor(messageBytesMax: number, onEnvelope: (flags: number, message: Buffer) => void) {
    this.#messageBytesMax = messageBytesMax;
    this.#onEnvelope = onEnvelope;
  }

  /** @throws RangeError A message is longer than allowed. After any error nothing more can be read. */
  push(chunk: Buffer): void {
    let rest = chunk;
    while (rest.length > 0) {
      rest = this.#partial === undefined ? this.#readWhole(rest) : this.#readPart(this.#partial, rest);
    }
  }

  /** @returns What is left of the bytes: all of them when they are no whole envelope. */
  #readWhole(bytes: Buffer): Buffer {
    const wantedBytes = bytes.length < headerBytes ? headerBytes : this.#envelopeBytes(bytes);
    if (bytes.length < wantedBytes) {
      this.#partial = Buffer.allocUnsafeSlow(wantedBytes);
      this.#partialFilledBytes = 0;
      return bytes;
    }
    this.#tell(bytes.subarray(0, wantedBytes));
    return bytes.subarray(wantedBytes);
  }

  #readPart(partial: Buffer, bytes: Buffer): Buffer {
    const takenBytes = bytes.copy(partial, this.#partialFilledBytes);
    this.#partialFilledBytes += takenBytes;
    if (this.#partialFilledBytes === partial.length) {
      const wantedBytes = this.#envelopeBytes(partial);
      this.#partial = undefined;
      if (wantedBytes === partial.length) this.#tell(partial);
      else this.#growTo(wantedBytes, partial);
    }
    return bytes.subarray(takenBytes);
  }

  #growTo(wantedBytes: number, header: Buffer): void {
    this.#partial = Buffer.allocUnsafeSlow(wantedBytes);
    header.copy(this.#partial);
  }

  #tell(envelope: Buffer): void {
    this.#onEnvelope(envelope.readUInt8(0), envelope.subarray(headerBytes));
  }

  #envelopeBytes(header: Buffer): number {
    const messageBytes = header.readUInt32BE(1);
    if (messageBytes <= this.#messageBytesMax) return headerBytes + messageBytes;
    throw new RangeError(`a message of ${messageBytes} bytes came, above the limit of ${this.#messageBytesMax}`);
  }
}
