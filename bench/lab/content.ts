import { randomFillSync } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';

const CHUNK_BYTES = 4 << 20;

/** Writes a file of random bytes: nothing on the way can compress it, no two pieces are alike. */
export async function writeRandomFile(file: string, sizeBytes: number): Promise<void> {
  await writeChunks(file, sizeBytes, (chunk) => randomFillSync(chunk));
}

/** Writes a file of zeros, with memory behind every page. */
export async function writeZeroFile(file: string, sizeBytes: number): Promise<void> {
  await writeChunks(file, sizeBytes, () => {});
}

async function writeChunks(file: string, sizeBytes: number, fillChunk: (chunk: Buffer) => void): Promise<void> {
  await using handle = await open(file, 'w');
  const chunk = Buffer.alloc(CHUNK_BYTES);
  for (let offset = 0; offset < sizeBytes; offset += CHUNK_BYTES) {
    fillChunk(chunk);
    await handle.write(chunk, 0, Math.min(CHUNK_BYTES, sizeBytes - offset));
  }
}

/** Compares two files, every byte. */
export async function haveSameBytes(left: string, right: string): Promise<boolean> {
  await using first = await open(left);
  await using second = await open(right);
  const { size } = await first.stat();
  if (size !== (await second.stat()).size) return false;
  const chunks = [Buffer.alloc(CHUNK_BYTES), Buffer.alloc(CHUNK_BYTES)] as const;
  for (let offset = 0; offset < size; offset += CHUNK_BYTES) {
    const lengthBytes = Math.min(CHUNK_BYTES, size - offset);
    await fill(first, chunks[0], offset, lengthBytes);
    await fill(second, chunks[1], offset, lengthBytes);
    if (Buffer.compare(chunks[0].subarray(0, lengthBytes), chunks[1].subarray(0, lengthBytes)) !== 0) return false;
  }
  return true;
}

async function fill(file: FileHandle, chunk: Buffer, offset: number, lengthBytes: number): Promise<void> {
  const { bytesRead } = await file.read(chunk, 0, lengthBytes, offset);
  if (bytesRead !== lengthBytes) throw new Error('Cannot compare files: one became shorter');
}
