/** Reads the messages of `Follow` straight from the HTTP/2 stream: one callback each, no promise. */
import { type ClientHttp2Stream, constants, type IncomingHttpHeaders, type IncomingHttpStatusHeader } from 'node:http2';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { endStreamFromJson } from '@connectrpc/connect/protocol-connect';
import { abortable } from '../core/abort.ts';
import type { GuardedSessions } from '../core/guarded-sessions.ts';
import { compressedFlag, EnvelopeReader, encodeEnvelope, endStreamFlag } from './envelope.ts';
import { followPath, protoCodec } from './follow-codec.ts';
import { type Availability, AvailabilitySchema, FollowRequestSchema } from './gen/p2pstore/peer/v1/peer_pb.ts';

type Sessions = Pick<GuardedSessions, 'request' | 'notifyResponseByteRead'>;

export interface FollowCall {
  readonly name: string;
  readonly generation: string;
  readonly wantsDigests: boolean;
  /** A longer message ends the stream. */
  readonly messageBytesMax: number;
  /** Not called after the signal has fired. What it throws ends the stream. */
  readonly onMessage: (message: Availability) => void;
  readonly signal: AbortSignal;
}

/**
 * Follows until the peer ends the stream.
 *
 * @throws signal.reason After an abort; else what ended the stream early: the peer's error, a broken connection, a
 *   message that cannot be read.
 */
export async function readFollow(sessions: Sessions, call: FollowCall): Promise<void> {
  const { name, generation, wantsDigests, signal } = call;
  const opening = sessions.request('POST', followPath, requestHeaders, {});
  const stream = await abortable(opening, signal).catch((error: unknown) => {
    opening.then(cancel, () => {}); // a stream that opens after all
    throw error;
  });
  const done = readEnvelopes(sessions, stream, call);
  const request = toBinary(FollowRequestSchema, create(FollowRequestSchema, { name, generation, wantsDigests }));
  stream.end(encodeEnvelope(0, request));
  return await done;
}

const requestHeaders = {
  [constants.HTTP2_HEADER_CONTENT_TYPE]: protoCodec.contentType,
  'connect-protocol-version': '1',
};

function cancel(stream: ClientHttp2Stream): void {
  stream.on('error', () => {});
  stream.close(constants.NGHTTP2_CANCEL);
}

function readEnvelopes(
  sessions: Sessions,
  stream: ClientHttp2Stream,
  { messageBytesMax, onMessage, signal }: FollowCall,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let isSettled = false;
    const settle = (error?: unknown): void => {
      if (isSettled) return;
      isSettled = true;
      signal.removeEventListener('abort', onAbort);
      cancel(stream);
      if (error === undefined) resolve();
      else reject(error);
    };
    const onAbort = (): void => settle(signal.reason);
    const reader = new EnvelopeReader(messageBytesMax, (flags, message) => {
      if (isSettled) return;
      if ((flags & compressedFlag) !== 0) throw new Error('the peer sent a compressed message');
      if ((flags & endStreamFlag) === 0) onMessage(fromBinary(AvailabilitySchema, message));
      else settle(endStreamFromJson(message).error);
    });
    signal.addEventListener('abort', onAbort, { once: true });
    stream.on('response', (headers) => {
      const refusal = refusalOf(headers);
      if (refusal !== undefined) settle(new Error(refusal));
    });
    stream.on('data', (chunk: Buffer) => {
      if (isSettled) return;
      sessions.notifyResponseByteRead(stream);
      try {
        reader.push(chunk);
      } catch (error) {
        settle(error);
      }
    });
    stream.on('error', settle);
    stream.on('close', () => settle(new Error('the stream ended early')));
  });
}

function refusalOf(headers: IncomingHttpHeaders & IncomingHttpStatusHeader): string | undefined {
  const { ':status': status, 'content-type': contentType } = headers;
  if (status === 200 && contentType === protoCodec.contentType) return undefined;
  return `the peer answered with status ${status} and ${contentType ?? 'no content type'}`;
}
