/**
 * The Transfer Engine: one-sided READ and WRITE between registered memory of many processes.
 *
 * The engine keeps who registered what, finds segments, and turns batches into requests; a
 * transport moves the bytes. It never touches memory itself.
 */
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { Gate } from '../core/gate.ts';
import { type Logger, silentLogger } from '../observability/logger.ts';
import { MetricSamples } from '../observability/metric-samples.ts';
import { TransferBatch } from './batch.ts';
import { checkRequest } from './check-request.ts';
import { bindHostFor, defaultHost, isLoopback } from './engine-host.ts';
import { addEngineMetrics } from './engine-metrics.ts';
import { EngineTransports } from './engine-transports.ts';
import { HANDSHAKE_URI, segmentNameOf } from './mooncake/handshake-directory.ts';
import { type Notification, NotificationInbox, type NotificationListener } from './mooncake/notifications.ts';
import { probeRpc, type RpcAddress, sendNotification } from './mooncake/rpc-client.ts';
import { RpcServer, type RpcServerOptions } from './mooncake/rpc-server.ts';
import {
  ANY_LOCATION,
  isKnownLocation,
  type NicPriorityMatrix,
  parseNicPriorityMatrix,
} from './nic-priority-matrix.ts';
import { type MetadataOption, openMetadataAccess, openRegistry } from './open-registry.ts';
import type { PathStatus } from './paths/path-status.ts';
import { type RegisteredRange, RegisteredRanges, type RegisterMemoryOptions } from './registered-ranges.ts';
import type { Segment } from './segment.ts';
import type { SegmentRegistry } from './segment-registry.ts';
import { linkBytesPerSecond, readTopology, topologyForTcp } from './topology/topology.ts';
import type { Batch, TransferPriority, TransferRequest } from './transfer.ts';
import { TransferCounts } from './transfer-counts.ts';
import type { RdmaTransport } from './transport/rdma/rdma-transport.ts';
import { defaultIoWorkers, type TcpTransportOptions } from './transport/tcp/tcp-transport.ts';
import type { TransportName } from './transport/transport.ts';
import type { TransportChoice } from './transport-route.ts';

export interface TransferEngineOptions {
  /**
   * Where segments are found: the URI of a metadata store; `http://host:port/metadata`, a service as Mooncake has it;
   * `P2PHANDSHAKE`, which means that engines ask each other; or a store and lease that the caller keeps and closes.
   */
  readonly metadata: MetadataOption;
  /** Keeps clusters apart that share a metadata store. Default: the variable MC_METADATA_CLUSTER_ID, as for Mooncake's engines. */
  readonly metadataClusterId?: string | undefined;
  /**
   * Name of this engine's segment, unique in the cluster; `host:port` by custom. With `P2PHANDSHAKE` only its host counts: the
   * segment is called after that and the RPC port.
   */
  readonly segmentName: string;
  readonly nicPriorityMatrix?: string | NicPriorityMatrix | undefined;
  /** Host name or address that peers dial. Default: see {@link defaultHost}. */
  readonly host?: string | undefined;
  /** Data port, 0 to 65,535. Default 0: the system chooses. */
  readonly dataPort?: number | undefined;
  /** Port that answers for the segment, takes notifications and probes; 0 to 65,535. Default 0: the system chooses. */
  readonly rpcPort?: number | undefined;
  /** I/O worker threads, 1 to 64. Default: half the cores, 2 to 8. */
  readonly ioWorkers?: number | undefined;
  /** Connections to one peer, 1 to 64; where it is reached over several pairs of cards, for each pair. Default 4: one core drives about one, and more only cost memory. */
  readonly connectionsPerPeer?: number | undefined;
  /** Connections that peers may hold open to us. Default 4,096; then the longest idle makes room. */
  readonly maxInboundConnections?: number | undefined;
  /** Default 3,000 ms. */
  readonly connectTimeoutMs?: number | undefined;
  /** Time without a byte from a peer that owes some before its connection counts as dead. Default 5,000 ms. */
  readonly stallTimeoutMs?: number | undefined;
  /**
   * Payload bytes a second that leave through the data plane, over all peers: any number above 0. In any three seconds at most 5 %
   * more pass. Registrations that are read at once get equal parts, see `flow` of {@link RegisterMemoryOptions}. Default: no limit.
   */
  readonly maxUploadBytesPerSecond?: number | undefined;
  /** The same for payload that comes in. What is pulled into different registrations gets equal parts. */
  readonly maxDownloadBytesPerSecond?: number | undefined;
  /**
   * How this engine moves bytes and what it offers to others, the preferred one first. It always serves TCP. Default: all that work
   * here, in the order `loopback` (same process), `local` (same host), `rdma`, `tcp`.
   */
  readonly transports?: readonly TransportName[] | undefined;
  readonly logger?: Logger | undefined;
}

type MemoryFaultListener = (address: number, lengthBytes: number) => void;

export class TransferEngine implements AsyncDisposable {
  readonly segmentName: string;
  /** Host name or address that peers dial. */
  readonly host: string;
  readonly nicPriorityMatrix: NicPriorityMatrix | undefined;
  /** The limit that it was opened with; undefined: none. */
  readonly maxDownloadBytesPerSecond: number | undefined;
  /** What its links carry to others, as far as the cards tell, or its limit if that is less; undefined when unknown. */
  readonly uplinkBytesPerSecond: number | undefined;
  readonly #gate = new Gate('transfer engine');
  readonly #transports: EngineTransports;
  readonly #directory: SegmentRegistry;
  readonly #rpc: RpcServer;
  readonly #inbox: NotificationInbox;
  readonly #ranges: RegisteredRanges;
  readonly #listed = new Set<number>();
  readonly #segments = new Map<string, Segment>();
  readonly #batches = new Set<TransferBatch>();
  readonly #counts = new TransferCounts();
  readonly #faultListeners: Set<MemoryFaultListener>;
  readonly #closeOwned: () => Promise<void>;
  #closing: Promise<void> | undefined;

  private constructor(parts: {
    readonly segmentName: string;
    readonly host: string;
    readonly matrix: NicPriorityMatrix | undefined;
    readonly maxDownloadBytesPerSecond: number | undefined;
    readonly uplinkBytesPerSecond: number | undefined;
    readonly transports: EngineTransports;
    readonly directory: SegmentRegistry;
    readonly rpc: RpcServer;
    readonly inbox: NotificationInbox;
    readonly faultListeners: Set<MemoryFaultListener>;
    readonly closeOwned: () => Promise<void>;
  }) {
    this.segmentName = parts.segmentName;
    this.host = parts.host;
    this.nicPriorityMatrix = parts.matrix;
    this.maxDownloadBytesPerSecond = parts.maxDownloadBytesPerSecond;
    this.uplinkBytesPerSecond = parts.uplinkBytesPerSecond;
    this.#transports = parts.transports;
    this.#directory = parts.directory;
    this.#rpc = parts.rpc;
    this.#inbox = parts.inbox;
    this.#faultListeners = parts.faultListeners;
    this.#closeOwned = parts.closeOwned;
    this.#ranges = new RegisteredRanges();
  }

  /**
   * Starts the I/O workers, opens the data port and lists the segment.
   *
   * @throws P2P_INVALID_ARGUMENT An option is out of range, a card unknown, the data port taken.
   * @throws P2P_SEGMENT_IN_USE A live store goes by that name.
   * @throws P2P_METADATA_UNAVAILABLE, P2P_METADATA_DENIED
   * @throws P2P_UNSUPPORTED Not on Linux.
   */
  static async open(options: TransferEngineOptions): Promise<TransferEngine> {
    const { logger = silentLogger } = options;
    if (options.segmentName === '') throw invalidOption('segmentName', 'it is empty');
    const matrix = parseNicPriorityMatrix(options.nicPriorityMatrix);
    const host = options.host ?? defaultHost(options.segmentName);
    const faultListeners = new Set<MemoryFaultListener>();
    const cleanups: (() => Promise<void>)[] = [];
    const closeOwned = async (): Promise<void> => {
      for (const cleanup of cleanups.toReversed()) await cleanup();
    };
    try {
      const access = await openMetadataAccess(options.metadata, logger, cleanups);
      const inbox = new NotificationInbox();
      let directory: SegmentRegistry | undefined;
      let rdma: RdmaTransport | undefined;
      const rpc = await openRpcPort(options, host, {
        describe: () => directory?.describe(),
        answerHandshake: (body) => rdma?.answerHandshake(body),
        onNotification: (notification) => inbox.deliver(notification),
      });
      cleanups.push(() => rpc.close());
      const segmentName = options.metadata === HANDSHAKE_URI ? segmentNameOf(host, rpc.port) : options.segmentName;
      const tcp = tcpOptionsOf(options, host, (address, lengthBytes) => {
        for (const listener of faultListeners) listener(address, lengthBytes);
      });
      const transports = await EngineTransports.open({ transports: options.transports, segmentName, matrix, tcp });
      cleanups.push(() => transports.close());
      rdma = transports.rdma;
      const listing = {
        segmentName,
        host,
        dataPort: transports.tcp.port,
        endpoints: transports.endpoints,
        rpcPort: rpc.port,
        rdma: transports.rdma?.listing,
      };
      const registry = await openRegistry(access, listing, { clusterId: options.metadataClusterId, logger });
      directory = registry;
      cleanups.push(() => registry.close());
      const rates = {
        maxDownloadBytesPerSecond: options.maxDownloadBytesPerSecond,
        uplinkBytesPerSecond: linkBytesPerSecond(tcp.topology, options.maxUploadBytesPerSecond),
      };
      const opened = { rpc, inbox, transports, directory, faultListeners, closeOwned };
      return new TransferEngine({ segmentName, host, matrix, ...rates, ...opened });
    } catch (error) {
      await closeOwned();
      throw error;
    }
  }

  /** Port of the data plane on {@link host}. */
  get dataPort(): number {
    return this.#transports.tcp.port;
  }

  /** Addresses of the network cards at which peers are told that they reach this engine; none when only {@link host} is told. */
  get cardAddresses(): readonly string[] {
    return (this.#transports.tcp.endpoint?.cards ?? []).flatMap(({ addresses }) => addresses);
  }

  /** Port that takes notifications and probes on {@link host}. */
  get rpcPort(): number {
    return this.#rpc.port;
  }

  /** Whether memory may be registered under this location. */
  hasLocation(location: string): boolean {
    return isKnownLocation(this.nicPriorityMatrix, location);
  }

  /**
   * Registers `[address, address + lengthBytes)` of this process, so that transfers may use it and
   * peers reach it as `remoteAccess` allows. The caller keeps the memory alive until it is
   * unregistered.
   *
   * @param lengthBytes - At least 1.
   * @param location - A key of the NIC priority matrix, or `*`.
   * @throws P2P_INVALID_ARGUMENT, P2P_ADDRESS_OVERLAPPED, P2P_CLOSED
   */
  registerLocalMemory(
    address: bigint | number,
    lengthBytes: number,
    location: string = ANY_LOCATION,
    options: RegisterMemoryOptions = {},
  ): Promise<void> {
    return this.#gate.run(async () => {
      const start = requireInteger('address', Number(address), 1, Number.MAX_SAFE_INTEGER);
      requireInteger('lengthBytes', lengthBytes, 1, Number.MAX_SAFE_INTEGER - start);
      if (!this.hasLocation(location))
        throw invalidOption('location', `"${location}" is no key of the NIC priority matrix`);
      if (this.#ranges.overlapping(start, lengthBytes) !== undefined) {
        throw new P2PStoreError(
          ErrorCode.AddressOverlapped,
          `Cannot register memory at 0x${start.toString(16)}: it overlaps memory that is registered already`,
          { address: BigInt(start), lengthBytes },
        );
      }
      const { remoteAccess = 'read', isListed = true, access, flow, dmabuf } = options;
      const range = {
        address: start,
        lengthBytes,
        isReadable: remoteAccess !== 'none',
        isWritable: remoteAccess === 'read-write',
        access,
        flow,
        location,
        dmabuf,
      };
      this.#ranges.add(range);
      try {
        await this.#transports.register(range);
        if (isListed && remoteAccess !== 'none') {
          this.#listed.add(start);
          await this.#directory.add(range);
        }
      } catch (error) {
        await this.#forget(start).catch(() => {}); // the first error says why
        throw error;
      }
    });
  }

  /**
   * Takes a registration back. Own transfers that use the memory are cancelled. When this resolves
   * no peer reads or writes it any more, and it may be freed.
   *
   * @throws P2P_INVALID_ARGUMENT No registration starts at `address`.
   */
  unregisterLocalMemory(address: bigint | number): Promise<void> {
    return this.#gate.run(async () => {
      const range = this.#ranges.startingAt(Number(address));
      if (range === undefined) throw invalidOption('address', 'no registration starts there');
      // While some are ending others may start: the memory is theirs until it is forgotten.
      for (let users = this.#usersOf(range); users.length > 0; users = this.#usersOf(range)) {
        for (const batch of users) batch.cancel();
        await Promise.allSettled(users.map((batch) => batch.done));
      }
      await this.#forget(range.address);
    });
  }

  #usersOf({ address, lengthBytes }: RegisteredRange): TransferBatch[] {
    return [...this.#batches].filter((batch) => batch.touches(address, lengthBytes));
  }

  async #forget(address: number): Promise<void> {
    this.#ranges.remove(address);
    await this.#transports.unregister(address);
    await this.#directory.remove(address, this.#listed.delete(address));
  }

  /**
   * Finds a segment by name. The answer is kept; `refresh` asks again, after a peer restarted.
   *
   * @throws P2P_SEGMENT_NOT_FOUND, P2P_RECORD_INVALID, P2P_METADATA_UNAVAILABLE
   */
  openSegment(
    name: string,
    options: { readonly refresh?: boolean; readonly signal?: AbortSignal } = {},
  ): Promise<Segment> {
    return this.#gate.run(async () => {
      const known = this.#segments.get(name);
      if (known !== undefined && options.refresh !== true) return known;
      const segment = await this.#directory.resolve(name, options.signal);
      this.#segments.set(name, segment);
      return segment;
    });
  }

  /**
   * Starts a batch of READs and WRITEs. Never throws: what is wrong with a request shows as the
   * status and error of its task.
   *
   * @param options.signal - Cancels the batch; `done` still waits until the memory is quiet.
   * @param options.priority - Default `normal`.
   */
  submitTransfer(
    requests: readonly TransferRequest[],
    options: { readonly signal?: AbortSignal | undefined; readonly priority?: TransferPriority | undefined } = {},
  ): Batch {
    const batch = new TransferBatch(requests, {
      ...options,
      transport: this.#transports.router,
      counts: this.#counts,
      check: (request) => (this.#gate.isOpen ? checkRequest(request, this.#ranges) : this.#gate.closedError()),
    });
    this.#batches.add(batch);
    const forget = (): void => {
      this.#batches.delete(batch);
    };
    batch.done.then(forget, forget);
    return batch;
  }

  /**
   * Probes the ways to a segment and tells which one its requests would take, and why.
   *
   * @throws P2P_SEGMENT_NOT_FOUND, P2P_RECORD_INVALID, P2P_METADATA_UNAVAILABLE
   */
  async explain(segmentName: string): Promise<TransportChoice> {
    const segment = await this.openSegment(segmentName);
    return this.#gate.run(() => this.#transports.router.explain(segment));
  }

  /**
   * Looks a segment up and connects to it, so that the first request waits for nothing. What is idle for long is closed again;
   * whoever waits longer than half a minute calls it again.
   *
   * @throws P2P_SEGMENT_NOT_FOUND, P2P_RECORD_INVALID, P2P_METADATA_UNAVAILABLE
   */
  async prepareSegment(segmentName: string): Promise<void> {
    const segment = await this.openSegment(segmentName);
    await this.#gate.run(() => this.#transports.router.prepare(segment));
  }

  /** How requests travel to each segment that was used, the last one first. */
  transportChoices(): TransportChoice[] {
    return this.#transports.router.choices();
  }

  /**
   * Sends a short message to the engine of a segment, ours or Mooncake's.
   *
   * @throws P2P_UNSUPPORTED The segment does not say where it takes them.
   * @throws P2P_PEER_UNREACHABLE, P2P_TRANSFER_REJECTED, P2P_CLOSED
   */
  sendNotify(
    segment: Segment,
    notification: Notification,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    return this.#gate.run(async () => sendNotification(rpcAddressOf(segment), notification, options.signal));
  }

  /** Calls back with every notification that comes, and with up to 1,024 that came before the first listener. Returns its removal. */
  onNotify(listener: NotificationListener): () => void {
    return this.#inbox.listen(listener);
  }

  /**
   * Whether the engine of a segment answers, ours or Mooncake's.
   *
   * @throws P2P_UNSUPPORTED The segment does not say where.
   */
  probe(segment: Segment, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<boolean> {
    return this.#gate.run(async () => probeRpc(rpcAddressOf(segment), options.signal));
  }

  /** The ways over TCP to all peers that were used in the last minute or so: cards, state, speed and faults of each. */
  paths(): readonly PathStatus[] {
    return this.#transports.tcp.paths();
  }

  /**
   * Counters and gauges of this engine as text for Prometheus, format 0.0.4; `docs/metrics.md` lists them.
   *
   * @throws P2P_CLOSED
   */
  async metrics(): Promise<string> {
    return (await this.readMetrics(new MetricSamples())).format();
  }

  /** Adds the values behind {@link metrics} to others. @throws P2P_CLOSED */
  readMetrics(samples: MetricSamples): Promise<MetricSamples> {
    return this.#gate.run(async () => {
      const { tcp, router } = this.#transports;
      const served = await tcp.served();
      addEngineMetrics(samples, { paths: tcp.paths(), choices: router.choices(), counts: this.#counts, served });
      return samples;
    });
  }

  /** Calls back when serving a peer touched registered memory that is gone: a truncated file, an unmapped page. */
  onMemoryFault(listener: MemoryFaultListener): () => void {
    this.#faultListeners.add(listener);
    return () => {
      this.#faultListeners.delete(listener);
    };
  }

  /** Cancels what runs, takes the segment's records back and ends the workers. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const drained = this.#gate.close();
    const batches = [...this.#batches];
    for (const batch of batches) batch.cancel(this.#gate.closedError());
    await Promise.allSettled(batches.map((batch) => batch.done));
    await drained;
    await this.#closeOwned();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function openRpcPort(
  { rpcPort = 0, logger = silentLogger }: TransferEngineOptions,
  host: string,
  answers: Pick<RpcServerOptions, 'describe' | 'answerHandshake' | 'onNotification'>,
): Promise<RpcServer> {
  const port = requireInteger('rpcPort', rpcPort, 0, 65_535);
  return RpcServer.open({ ...answers, bindHost: bindHostFor(host), port, logger });
}

function tcpOptionsOf(
  options: TransferEngineOptions,
  host: string,
  onMemoryFault: MemoryFaultListener,
): TcpTransportOptions {
  return {
    bindHost: bindHostFor(host),
    host,
    topology: isLoopback(host) ? undefined : topologyForTcp(readTopology(options.nicPriorityMatrix)),
    dataPort: requireInteger('dataPort', options.dataPort ?? 0, 0, 65_535),
    ioWorkers: requireInteger('ioWorkers', options.ioWorkers ?? defaultIoWorkers(), 1, 64),
    connectionsPerPeer: requireInteger('connectionsPerPeer', options.connectionsPerPeer ?? 4, 1, 64),
    maxInboundConnections: requireInteger('maxInboundConnections', options.maxInboundConnections ?? 4096, 1, 65_536),
    connectTimeoutMs: requireInteger('connectTimeoutMs', options.connectTimeoutMs ?? 3000, 1, 3_600_000),
    stallTimeoutMs: requireInteger('stallTimeoutMs', options.stallTimeoutMs ?? 5000, 1, 3_600_000),
    maxUploadBytesPerSecond: requireRate('maxUploadBytesPerSecond', options.maxUploadBytesPerSecond),
    maxDownloadBytesPerSecond: requireRate('maxDownloadBytesPerSecond', options.maxDownloadBytesPerSecond),
    logger: options.logger ?? silentLogger,
    onMemoryFault,
  };
}

function rpcAddressOf({ name, host, rpcPort }: Segment): RpcAddress {
  if (rpcPort !== undefined) return { host, port: rpcPort };
  throw new P2PStoreError(
    ErrorCode.Unsupported,
    `Cannot ask segment "${name}": it does not say where it takes notifications`,
    { feature: 'notifications' },
  );
}

function invalidOption(argument: string, why: string): P2PStoreError<'P2P_INVALID_ARGUMENT'> {
  return new P2PStoreError(ErrorCode.InvalidArgument, `Cannot use ${argument}: ${why}`, { argument });
}

function requireInteger(argument: string, value: number, min: number, max: number): number {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  throw invalidOption(argument, `${value} is not a whole number from ${min} to ${max}`);
}

function requireRate(argument: string, value: number | undefined): number | undefined {
  if (value === undefined || (Number.isFinite(value) && value > 0)) return value;
  throw invalidOption(argument, `${value} is no number of bytes a second above 0`);
}
