/**
 * Serves `Follow` on a plain HTTP/2 stream, in Connect's protocol for streams. Every other call goes through Connect;
 * this one does not, because its messages are small and many: what Connect does for each costs more than all else
 * that a busy store does.
 */
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { Code, ConnectError } from '@connectrpc/connect';
import { endStreamToJson, parseContentType, parseTimeout } from '@connectrpc/connect/protocol-connect';
import { KIB } from '../core/units.ts';
import { compressedFlag, EnvelopeReader, encodeEnvelope, endStreamFlag } from './envelope.ts';
import { type FollowCodec, followPath, jsonCodec, protoCodec } from './follow-codec.ts';
import type { FollowFeed } from './follow-feed.ts';
import type { FollowRequest } from './gen/p2pstore/peer/v1/peer_pb.ts';

/** A name and a generation. */
const requestBytesMax = 64 * KIB;
/** What a timer can wait for; who asks for more can do without one. */
const timeoutMsMax = 2 ** 31 - 1;

/** @returns How this request is to be answered; undefined when it is not for {@link serveFollow}. */
export function followCodecOf(headers: IncomingHttpHeaders): FollowCodec | undefined {
  const { ':path': path, ':method': method, 'content-type': contentType } = headers;
  const form = path === followPath && method === 'POST' ? parseContentType(contentType ?? null) : undefined;
  if (form?.stream !== true) return undefined;
  return form.binary ? protoCodec : jsonCodec;
}

/**
 * Lets `join` have the feed of what was asked for: at once, or when there is one.
 *
 * @returns Ends the wait for it.
 * @throws ConnectError It cannot be followed.
 */
export type FindFeed = (request: FollowRequest, join: (feed: FollowFeed) => void) => () => void;

export function serveFollow(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  codec: FollowCodec,
  findFeed: FindFeed,
): void {
  let stopWaiting = (): void => {};
  let leaveFeed = (): void => {};
  const leave = (): void => {
    stopWaiting();
    leaveFeed();
  };
  let isAnswered = false;
  const refuse = (error: unknown): void => {
    isAnswered = true;
    leave();
    if (!stream.writable) return;
    respond(stream, codec);
    stream.end(encodeEnvelope(endStreamFlag, Buffer.from(endStream(error))));
  };
  const reader = new EnvelopeReader(requestBytesMax, (flags, message) => {
    if (isAnswered) return;
    if ((flags & compressedFlag) !== 0) throw new ConnectError('compression is not supported', Code.Unimplemented);
    const request = decode(codec, message);
    stopWaiting = findFeed(request, (feed) => {
      respond(stream, codec);
      leaveFeed = feed.add(stream, { wantsDigests: request.wantsDigests, codec });
    });
    isAnswered = true;
    respond(stream, codec);
  });
  const cancelTimeout = startTimeout(headers, refuse);
  stream.on('data', (chunk: Buffer) => {
    if (isAnswered) return; // there is nothing more to ask
    try {
      reader.push(chunk);
    } catch (error) {
      refuse(error);
    }
  });
  stream.on('end', () => {
    if (!isAnswered) refuse(new ConnectError('the request has no message', Code.InvalidArgument));
  });
  stream.on('error', () => {}); // a peer that goes away; the stream closes
  stream.on('close', () => {
    cancelTimeout();
    leave();
  });
}

function decode(codec: FollowCodec, message: Buffer): FollowRequest {
  try {
    return codec.decodeRequest(message);
  } catch (cause) {
    throw new ConnectError('the request cannot be read', Code.InvalidArgument, undefined, undefined, cause);
  }
}

function respond(stream: ServerHttp2Stream, { contentType }: FollowCodec): void {
  if (stream.headersSent) return;
  stream.respond({ [constants.HTTP2_HEADER_STATUS]: 200, [constants.HTTP2_HEADER_CONTENT_TYPE]: contentType });
}

function endStream(error: unknown): string {
  const told = error instanceof RangeError ? new ConnectError(error.message, Code.ResourceExhausted) : error;
  return JSON.stringify(endStreamToJson(new Headers(), ConnectError.from(told, Code.Internal), undefined));
}

/** The client may say how long it wants to follow at most. */
function startTimeout(headers: IncomingHttpHeaders, onTimeout: (error: ConnectError) => void): () => void {
  const { timeoutMs } = parseTimeout(headers['connect-timeout-ms']?.toString() ?? null, timeoutMsMax);
  if (timeoutMs === undefined) return () => {};
  const error = new ConnectError('the operation timed out', Code.DeadlineExceeded);
  const timer = setTimeout(() => onTimeout(error), Math.min(timeoutMs, timeoutMsMax));
  timer.unref();
  return () => clearTimeout(timer);
}
