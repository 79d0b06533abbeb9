/** Asks the RPC port of a peer: one connection for one question. */
import net from 'node:net';
import { z } from 'zod';
import { abortable } from '../../core/abort.ts';
import { ErrorCode, isP2PStoreError, P2PStoreError } from '../../core/errors.ts';
import { hostPort } from '../../core/host-port.ts';
import type { Notification } from './notifications.ts';
import { encodeRpcFrame, RpcFrameReader, RpcType } from './rpc-frame.ts';

export interface RpcAddress {
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
}

/** For the connection, the question and the answer together. Mooncake's port serves one peer after the other. */
const CALL_MS = 10_000;
const CONNECT_MS = 3000;
/** Those who raised their own limit may send longer descriptors than others take. */
const ANSWER_BYTES_MAX: number = 16 << 20;

const notifyAnswerSchema = z.object({ notify_msg: z.string() });

function unreachable(address: RpcAddress, state: string, cause?: unknown): P2PStoreError<'P2P_PEER_UNREACHABLE'> {
  const peer = hostPort(address.host, address.port);
  return new P2PStoreError(
    ErrorCode.PeerUnreachable,
    `Cannot ask the RPC port of ${peer}: ${state}`,
    { peer },
    { cause },
  );
}

/**
 * @param json - The body of the request.
 * @returns The body of the answer, parsed.
 * @throws P2P_PEER_UNREACHABLE Nobody answers there within 10 s, or not in this language.
 */
export async function askRpc(address: RpcAddress, type: RpcType, json: string, signal?: AbortSignal): Promise<unknown> {
  signal?.throwIfAborted();
  const socket = net.connect({ host: address.host, port: address.port, noDelay: true });
  try {
    return await abortable(exchange(socket, address, type, json), signal);
  } finally {
    socket.destroy(); // at once: the real port serves nobody else until then
  }
}

function exchange(socket: net.Socket, address: RpcAddress, type: RpcType, json: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const reader = new RpcFrameReader(ANSWER_BYTES_MAX);
    const fail = (state: string, cause?: unknown): void => reject(unreachable(address, state, cause));
    const whole = setTimeout(() => fail('it did not answer in time'), CALL_MS);
    const connecting = setTimeout(() => fail('it did not accept a connection in time'), CONNECT_MS);
    socket.once('connect', () => {
      clearTimeout(connecting);
      socket.write(encodeRpcFrame(type, json));
    });
    socket.on('data', (part) => {
      try {
        const frame = reader.push(part);
        if (frame === undefined) return;
        if (frame.type === type) resolve(frame.body);
        else fail('it answered something else');
      } catch (error) {
        fail('its answer cannot be read', error);
      }
    });
    socket.once('error', (cause) => fail(cause.message, cause));
    socket.once('close', () => {
      clearTimeout(whole);
      clearTimeout(connecting);
      fail('it closed the connection without an answer'); // too late to matter after an answer
    });
  });
}

/**
 * @throws P2P_PEER_UNREACHABLE Nobody answers there.
 * @throws P2P_TRANSFER_REJECTED The peer did not take it.
 */
export async function sendNotification(
  address: RpcAddress,
  { name, message }: Notification,
  signal?: AbortSignal,
): Promise<void> {
  const answer = await askRpc(address, RpcType.Notify, JSON.stringify({ name, notify_msg: message }), signal);
  const parsed = notifyAnswerSchema.safeParse(answer);
  if (parsed.success && parsed.data.notify_msg !== '') return;
  const peer = hostPort(address.host, address.port);
  throw new P2PStoreError(ErrorCode.TransferRejected, `Cannot notify ${peer}: it did not take the notification`, {
    peer,
    address: 0n,
    lengthBytes: Buffer.byteLength(message),
  });
}

/** Whether somebody answers there as an engine does. */
export async function probeRpc(address: RpcAddress, signal?: AbortSignal): Promise<boolean> {
  try {
    await askRpc(address, RpcType.Probe, '{}', signal);
    return true;
  } catch (error) {
    if (isP2PStoreError(error, ErrorCode.PeerUnreachable)) return false;
    throw error;
  }
}
