/** Serves what this store has to its peers: availability, digests, second looks and status. No bytes of objects. */
import { setMaxListeners } from 'node:events';
import http2 from 'node:http2';
import { type AddressInfo, isIPv4 } from 'node:net';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { Code, ConnectError, type ServiceImpl } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { systemClock } from '../core/clock.ts';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { hostPort } from '../core/host-port.ts';
import { KIB } from '../core/units.ts';
import { type Logger, silentLogger } from '../observability/logger.ts';
import { EarlyFollows } from './early-follows.ts';
import { FollowFeed } from './follow-feed.ts';
import { type FindFeed, followCodecOf, serveFollow } from './follow-handler.ts';
import { type GetStatusResponseSchema, PeerService as PeerServiceDefinition } from './gen/p2pstore/peer/v1/peer_pb.ts';
import { stateMessage } from './pending-changes.ts';
import { Rechecker } from './rechecker.ts';
import type { SharedObject } from './shared-object.ts';
import { PEER_ADDRESSES_MAX } from './source-feed.ts';

export interface PeerServiceOptions {
  /** Where to listen. Default 0.0.0.0. */
  readonly host?: string;
  /** 0, the default, takes any free port. */
  readonly port?: number;
  /** What peers are told to connect to. Default `host`. */
  readonly advertisedHost?: string;
  /** Other numeric addresses of this machine that peers can reach. */
  readonly otherAddresses?: readonly string[];
  /** Of the store, for those who dial it at one of them. */
  readonly segment?: string;
  readonly logger?: Logger;
  /** Peers connected at once; more are turned away. Default 1,024. */
  readonly sessionsMax?: number;
}

/** Requests are names and digests. */
const requestBytesMax = 64 * KIB;
const streamsMax = 256;
/** Clients ping, so a session that is silent for this long has no living client. */
const sessionIdleMs = 60_000;

interface Served {
  readonly object: SharedObject;
  readonly rechecker: Rechecker;
  readonly feed: FollowFeed;
}

export class PeerService implements AsyncDisposable {
  /** `host:port` that peers connect to. */
  readonly endpoint: string;
  /** Those of {@link PeerServiceOptions.otherAddresses} at which it answers too, on the same port; a few. */
  readonly addresses: readonly string[];
  readonly #server: http2.Http2Server;
  readonly #sessions: ReadonlySet<http2.ServerHttp2Session>;
  readonly #served: Map<string, Served>;
  readonly #early: EarlyFollows;
  readonly #shutdown: AbortController;
  #closed: Promise<void> | undefined;

  private constructor(parts: {
    readonly endpoint: string;
    readonly addresses: readonly string[];
    readonly server: http2.Http2Server;
    readonly sessions: ReadonlySet<http2.ServerHttp2Session>;
    readonly served: Map<string, Served>;
    readonly early: EarlyFollows;
    readonly shutdown: AbortController;
  }) {
    this.endpoint = parts.endpoint;
    this.addresses = parts.addresses;
    this.#server = parts.server;
    this.#sessions = parts.sessions;
    this.#served = parts.served;
    this.#early = parts.early;
    this.#shutdown = parts.shutdown;
  }

  /**
   * @throws P2P_INVALID_ARGUMENT The port that was asked for is taken, or may not be listened on.
   * @throws P2P_SYSTEM_CALL_FAILED No port can be listened on.
   */
  static async open(options: PeerServiceOptions = {}): Promise<PeerService> {
    const { host = '0.0.0.0', port = 0, logger = silentLogger, sessionsMax = 1_024, segment = '' } = options;
    const served = new Map<string, Served>();
    const early = new EarlyFollows();
    const shutdown = new AbortController();
    setMaxListeners(0, shutdown.signal); // one listener a request, and eleven at once are no leak
    const handler = connectNodeAdapter({
      routes: (router) => {
        router.service(PeerServiceDefinition, createHandlers(served, segment));
      },
      readMaxBytes: requestBytesMax,
      acceptCompression: [],
      grpc: false,
      grpcWeb: false,
      shutdownSignal: shutdown.signal,
    });
    const findFeed: FindFeed = (request, join) => {
      const entry = request.generation === '' ? served.get(request.name) : find(served, request);
      if (entry === undefined) return early.add(request.name, join);
      join(entry.feed);
      return () => {};
    };
    const server = http2.createServer({ settings: { maxConcurrentStreams: streamsMax } }, (request, response) => {
      const codec = followCodecOf(request.headers);
      if (codec === undefined) handler(request, response);
      else serveFollow(request.stream, request.headers, codec, findFeed);
    });
    const sessions = trackSessions(server, sessionsMax, logger);
    await listen(server, host, port);
    const { port: boundPort } = server.address() as AddressInfo;
    const advertised = options.advertisedHost ?? host;
    const endpoint = hostPort(advertised, boundPort);
    const others = (options.otherAddresses ?? []).filter((address) => address !== advertised);
    const addresses = others.filter((address) => isHeard(host, address)).slice(0, PEER_ADDRESSES_MAX);
    logger.debug({ endpoint, addresses }, 'peer service listens');
    return new PeerService({ endpoint, addresses, server, sessions, served, early, shutdown });
  }

  /** Peers that are connected. */
  get sessions(): number {
    return this.#sessions.size;
  }

  /** Streams that are open, over all objects that are served. */
  get followers(): number {
    let count = 0;
    for (const { feed } of this.#served.values()) count += feed.followers;
    return count;
  }

  /** Lets peers follow an object. One with the same name is replaced, and withdrawn. */
  share(object: SharedObject): void {
    const { name } = object.layout;
    this.unshare(name);
    const feed = new FollowFeed(object, systemClock);
    this.#served.set(name, { object, rechecker: new Rechecker(object, () => systemClock.nowMs()), feed });
    for (const join of this.#early.take(name)) join(feed);
  }

  /** Withdraws an object: followers are told and their streams end. */
  unshare(name: string): void {
    this.#served.get(name)?.object.withdraw();
    this.#served.delete(name);
  }

  /** Ends every session at once. Objects are left as they are. */
  close(): Promise<void> {
    this.#closed ??= new Promise((resolve) => {
      this.#shutdown.abort(
        new P2PStoreError(ErrorCode.Closed, 'Cannot follow: the peer service is closed', { resource: 'peer service' }),
      );
      this.#server.close(() => resolve());
      for (const session of this.#sessions) session.destroy();
    });
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Whether who listens on `host` hears what comes for `address`. */
function isHeard(host: string, address: string): boolean {
  return host === '::' || (host === '0.0.0.0' && isIPv4(address));
}

function listen(server: http2.Http2Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (cause: NodeJS.ErrnoException): void => {
      const message = `Cannot serve peers: listening on ${host} port ${port} failed with ${cause.code ?? 'an error'}`;
      const system = { call: 'listen', errno: Math.abs(cause.errno ?? 0), errnoName: cause.code ?? '' };
      reject(
        port === 0
          ? new P2PStoreError(ErrorCode.SystemCallFailed, message, system, { cause })
          : new P2PStoreError(ErrorCode.InvalidArgument, message, { argument: 'peerPort' }, { cause }),
      );
    };
    server.once('error', onError);
    server.listen(port, host, () => {
      server.off('error', onError);
      resolve();
    });
  });
}

function trackSessions(server: http2.Http2Server, sessionsMax: number, logger: Logger): Set<http2.ServerHttp2Session> {
  const sessions = new Set<http2.ServerHttp2Session>();
  server.on('session', (session) => {
    // Bad frames end their session and nothing else.
    session.on('error', (error) => logger.debug({ error }, 'peer session failed'));
    if (sessions.size >= sessionsMax) {
      session.destroy();
      return;
    }
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    session.setTimeout(sessionIdleMs, () => session.destroy());
  });
  server.on('sessionError', (error) => logger.debug({ error }, 'peer session failed'));
  server.on('error', (error) => logger.warn({ error }, 'peer service failed'));
  return sessions;
}

function find(
  served: ReadonlyMap<string, Served>,
  { name, generation }: { readonly name: string; readonly generation: string },
): Served {
  const entry = served.get(name);
  if (entry?.object.layout.generation === generation) return entry;
  throw new ConnectError('the object is not served here', Code.NotFound);
}

/** All calls but `Follow`, which is not left to Connect. */
function createHandlers(
  served: ReadonlyMap<string, Served>,
  segment: string,
): Required<Omit<ServiceImpl<typeof PeerServiceDefinition>, 'follow'>> {
  return {
    getDigests(request) {
      const { object } = find(served, request);
      return object.knowsAllDigests ? { digests: object.digests } : {};
    },
    async reportMismatch(request) {
      const { object, rechecker } = find(served, request);
      if (request.piece >= object.pieces) throw new ConnectError('there is no such piece', Code.OutOfRange);
      return { verdict: await rechecker.check(request.piece) };
    },
    getStatus({ name }) {
      const entry = served.get(name);
      return { segment, ...(entry === undefined ? { isServed: false } : describe(entry)) };
    },
  };
}

function describe({ object, feed }: Served): MessageInitShape<typeof GetStatusResponseSchema> {
  const { progress, layout } = object;
  return {
    isServed: true,
    generation: layout.generation,
    role: object.role,
    state: stateMessage(object).state,
    totalBytes: BigInt(layout.totalSize),
    pieces: object.pieces,
    verifiedPieces: object.verified.count,
    followers: feed.followers,
    sources: (progress?.sources ?? []).map((source) => ({ ...source, bytes: BigInt(source.bytes) })),
    bytesPerSecond: progress?.bytesPerSecond ?? 0,
  };
}
