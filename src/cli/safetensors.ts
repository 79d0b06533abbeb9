/**
 * Writes a checkpoint in the safetensors format, filled with pseudo-random bytes:
 *
 *     u64 little endian: length of the header
 *     header: JSON, padded with spaces to a multiple of 8
 *     the tensors' bytes, without gaps, at the offsets that the header gives
 *
 * @see https://github.com/huggingface/safetensors#format
 */
import { type Cipher, createCipheriv } from 'node:crypto';
import fs from 'node:fs/promises';

export interface TensorSpec {
  readonly name: string;
  readonly dtype: 'BF16' | 'F32';
  readonly shape: readonly number[];
}

const DTYPE_BYTES = { BF16: 2, F32: 4 } as const;
const HIDDEN_SIZE = 512;
const LAYER_MATRICES = ['self_attn.qkv_proj', 'self_attn.o_proj', 'mlp.up_proj', 'mlp.down_proj'] as const;
const LAYERS = 4;
const CHUNK_BYTES = 4 * 1024 * 1024;

export function tensorSizeBytes(tensor: TensorSpec): number {
  return tensor.shape.reduce((product, length) => product * length, DTYPE_BYTES[tensor.dtype]);
}

/**
 * Plans the tensors of a small transformer whose bytes add up to just below `sizeBytes`: BF16 matrices, F32 norms.
 *
 * @param sizeBytes - 64 KiB or more.
 */
export function planTensors(sizeBytes: number): TensorSpec[] {
  const norms = Array.from({ length: LAYERS }, (_, layer): TensorSpec => {
    return { name: `model.layers.${layer}.input_layernorm.weight`, dtype: 'F32', shape: [HIDDEN_SIZE] };
  });
  const normBytes = norms.reduce((total, tensor) => total + tensorSizeBytes(tensor), 0);
  const names = Array.from({ length: LAYERS }, (_, layer) => {
    return LAYER_MATRICES.map((matrix) => `model.layers.${layer}.${matrix}.weight`);
  }).flat();
  const rowBytes = HIDDEN_SIZE * DTYPE_BYTES.BF16;
  const rowsTotal = Math.floor((sizeBytes - normBytes) / rowBytes);
  const rowsEach = Math.floor(rowsTotal / (names.length + 2));
  const matrices = names.map((name): TensorSpec => ({ name, dtype: 'BF16', shape: [rowsEach, HIDDEN_SIZE] }));
  // The embedding takes what the matrices leave, so that the sum comes as near as a row.
  const embeddingRows = rowsTotal - rowsEach * names.length;
  return [
    { name: 'model.embed_tokens.weight', dtype: 'BF16', shape: [embeddingRows, HIDDEN_SIZE] },
    ...matrices,
    ...norms,
  ];
}

/** @returns Length field and header: what comes before the first tensor's first byte. */
export function encodeHeader(tensors: readonly TensorSpec[]): Buffer {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let offset = 0;
  for (const tensor of tensors) {
    const end = offset + tensorSizeBytes(tensor);
    header[tensor.name] = { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [offset, end] };
    offset = end;
  }
  const json = JSON.stringify(header);
  const padded = json.padEnd(Math.ceil(json.length / 8) * 8, ' ');
  const encoded = Buffer.alloc(8 + padded.length);
  encoded.writeBigUInt64LE(BigInt(padded.length));
  encoded.write(padded, 8, 'ascii');
  return encoded;
}

/**
 * Writes a checkpoint of exactly the header and `tensors`.
 *
 * @param seed - The same seed makes the same bytes.
 * @returns Size of the file in bytes.
 * @remarks The bytes are the key stream of AES-128-CTR: about 2 GB/s, so the disk is what it waits for.
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorSpec[],
  options: { readonly seed: number; readonly signal?: AbortSignal },
): Promise<number> {
  const header = encodeHeader(tensors);
  const dataBytes = tensors.reduce((total, tensor) => total + tensorSizeBytes(tensor), 0);
  const cipher = createKeyStream(options.seed);
  const zeros = Buffer.alloc(CHUNK_BYTES);
  const file = await fs.open(path, 'wx');
  try {
    await file.writeFile(header);
    for (let done = 0; done < dataBytes; done += CHUNK_BYTES) {
      options.signal?.throwIfAborted();
      await file.writeFile(cipher.update(zeros.subarray(0, Math.min(CHUNK_BYTES, dataBytes - done))));
    }
  } finally {
    await file.close();
  }
  return header.length + dataBytes;
}

function createKeyStream(seed: number): Cipher {
  const key = Buffer.alloc(16);
  key.writeUInt32LE(seed >>> 0);
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16));
}
