import { type Clock, systemClock } from '../core/clock.ts';
import { DigestPool } from '../digest/digest-pool.ts';
import type { NicPriorityMatrix } from '../engine/nic-priority-matrix.ts';
import { TransferEngine } from '../engine/transfer-engine.ts';
import type { TransportName } from '../engine/transport/transport.ts';
import type { EtcdOptions } from '../metadata/etcd/etcd-address.ts';
import { LeaseKeeper } from '../metadata/lease-keeper.ts';
import type { MetadataStore } from '../metadata/metadata-store.ts';
import { openMetadataStore } from '../metadata/open-metadata-store.ts';
import { type Logger, silentLogger } from '../observability/logger.ts';
import { PeerClient } from '../swarm/peer-client.ts';
import { PeerService } from '../swarm/peer-service.ts';
import { SwarmActivity } from '../swarm/swarm-activity.ts';
import { LocalObjects } from './local-objects.ts';
import { MemoryRegistrations } from './memory-registrations.ts';
import { type MooncakeParts, openMooncake } from './mooncake/open-mooncake.ts';
import { ObjectDirectory } from './object-directory.ts';
import { checkSegmentName, invalidArgument } from './object-name.ts';
import { ObjectReader } from './object-reader.ts';
import { ObjectWatches } from './object-watch.ts';
import { RecordSync } from './record-sync.ts';

/** Tunes one store. Every field has a default. */
export interface P2PStoreOptions {
  /** Host name or address that other stores dial. Default: the host of a segment name `host:port`, else an address of this host. */
  readonly host?: string | undefined;
  /** How long this store's records outlive it when it is killed, in ms, 1,000 to 3,600,000. Default 10,000. */
  readonly leaseTtlMs?: number | undefined;
  /** Threads that compute digests. Default: one less than the processors, 1 to 4. */
  readonly digestWorkers?: number | undefined;
  /** Threads that move bytes, 1 to 64. Default: half the processors, 2 to 8. */
  readonly ioWorkers?: number | undefined;
  /** Port that serves bytes of objects, 0 to 65,535. Default 0: the system chooses. */
  readonly dataPort?: number | undefined;
  /** Port that tells peers what is here, 0 to 65,535, another than `dataPort`. Default 0: the system chooses. */
  readonly peerPort?: number | undefined;
  /**
   * Payload bytes a second that this store sends to all others together, any number above 0; objects that are asked for at once get
   * equal parts. In any three seconds at most 5 % more pass. Default: no limit.
   */
  readonly maxUploadBytesPerSecond?: number | undefined;
  /** The same for what it takes from all others together. */
  readonly maxDownloadBytesPerSecond?: number | undefined;
  /**
   * Whether objects of this store are also listed where Mooncake's stores look for them, so that they can pull them. Only with etcd,
   * which is the only place where they look. Default true.
   */
  readonly mooncakeMirror?: boolean | undefined;
  /** Keeps clusters apart that share a metadata store, as Mooncake's engines do. Default: `MC_METADATA_CLUSTER_ID`, or none. */
  readonly metadataClusterId?: string | undefined;
  /**
   * How bytes may travel, the preferred way first: `loopback` (between stores of one process), `local` (between processes of one
   * host), `rdma`, `tcp`. Others may always come by TCP. Default: all that work here, in that order.
   */
  readonly transports?: readonly TransportName[] | undefined;
  /** User, password and certificates for etcd. */
  readonly etcd?: EtcdOptions | undefined;
  /** Default: silent. */
  readonly logger?: Logger | undefined;
  /** Time of the leases; tests move it. */
  readonly clock?: Clock | undefined;
}

/** What one store is made of. */
export interface StoreParts extends MooncakeParts {
  readonly segmentName: string;
  readonly logger: Logger;
  readonly metadata: MetadataStore;
  readonly leaseKeeper: LeaseKeeper;
  readonly engine: TransferEngine;
  readonly digestPool: DigestPool;
  readonly peers: PeerService;
  readonly peerClient: PeerClient;
  readonly reader: ObjectReader;
  readonly watches: ObjectWatches;
  readonly directory: ObjectDirectory;
  readonly registrations: MemoryRegistrations;
  readonly objects: LocalObjects;
  readonly sync: RecordSync;
  readonly activity: SwarmActivity;
}

const PORT_MAX = 65_535;
const LEASE_TTL_MS = { default: 10_000, min: 1_000, max: 3_600_000 };

/** Things to close, last opened first. A failure to close one is logged and keeps none of the others open. */
class CloseStack {
  readonly #logger: Logger;
  readonly #opened: AsyncDisposable[] = [];

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  add<T extends AsyncDisposable>(opened: T): T {
    this.#opened.push(opened);
    return opened;
  }

  async close(): Promise<void> {
    for (const opened of this.#opened.toReversed()) {
      try {
        await opened[Symbol.asyncDispose]();
      } catch (error) {
        this.#logger.warn({ error }, 'part of the store not closed cleanly');
      }
    }
  }
}

function checkOptions({ leaseTtlMs = LEASE_TTL_MS.default, dataPort, peerPort = 0 }: P2PStoreOptions): void {
  if (!Number.isFinite(leaseTtlMs) || leaseTtlMs < LEASE_TTL_MS.min || leaseTtlMs > LEASE_TTL_MS.max) {
    throw invalidArgument('leaseTtlMs', `${leaseTtlMs} is not within ${LEASE_TTL_MS.min} to ${LEASE_TTL_MS.max}`);
  }
  if (!Number.isInteger(peerPort) || peerPort < 0 || peerPort > PORT_MAX) {
    throw invalidArgument('peerPort', `${peerPort} is not a whole number from 0 to ${PORT_MAX}`);
  }
  if (peerPort !== 0 && peerPort === dataPort) throw invalidArgument('peerPort', `${peerPort} is the data port too`);
}

/** `memory:` and `local:` reach no further than this machine, so loopback is right whatever the segment is called. */
function defaultHostFor(metadataUri: string): string | undefined {
  return /^(?:memory|local):(?!\d+$)/.test(metadataUri) ? '127.0.0.1' : undefined;
}

/** Who is advertised on loopback listens only there; everybody else on all interfaces. */
function bindHostFor(host: string): string {
  if (host === 'localhost' || host === '::1' || /^127\.[\d.]+$/.test(host)) return host;
  return host.includes(':') ? '::' : '0.0.0.0';
}

/**
 * Opens everything a store needs, or nothing.
 *
 * @returns The parts, and what closes them all.
 */
export async function openStoreParts(
  metadataUri: string,
  segmentName: string,
  nicPriorityMatrix: string | NicPriorityMatrix | undefined,
  options: P2PStoreOptions,
): Promise<{ readonly parts: StoreParts; readonly close: () => Promise<void> }> {
  checkSegmentName(segmentName);
  checkOptions(options);
  const { logger = silentLogger, clock = systemClock, leaseTtlMs = LEASE_TTL_MS.default, etcd } = options;
  const opened = new CloseStack(logger);
  try {
    const digestPool = opened.add(DigestPool.open({ workers: options.digestWorkers, logger }));
    const metadata = opened.add(await openMetadataStore(metadataUri, { logger, clock, ...(etcd && { etcd }) }));
    const leaseKeeper = opened.add(await LeaseKeeper.open(metadata, { ttlMs: leaseTtlMs, logger, clock }));
    const engine = opened.add(
      await TransferEngine.open({
        metadata: { store: metadata, leaseKeeper },
        segmentName,
        metadataClusterId: options.metadataClusterId,
        nicPriorityMatrix,
        host: options.host ?? defaultHostFor(metadataUri),
        dataPort: options.dataPort,
        ioWorkers: options.ioWorkers,
        transports: options.transports,
        maxUploadBytesPerSecond: options.maxUploadBytesPerSecond,
        maxDownloadBytesPerSecond: options.maxDownloadBytesPerSecond,
        logger,
      }),
    );
    const peers = opened.add(
      await PeerService.open({
        host: bindHostFor(engine.host),
        port: options.peerPort ?? 0,
        advertisedHost: engine.host,
        otherAddresses: engine.cardAddresses,
        segment: segmentName,
        logger,
      }),
    );
    const peerClient = opened.add(new PeerClient());
    const reader = new ObjectReader(metadata, logger);
    const directory = new ObjectDirectory({ metadata, reader, leaseKeeper, segmentName, logger });
    const registrations = new MemoryRegistrations(engine);
    const sync = new RecordSync({ directory, logger });
    const mooncake = await openMooncake(
      { metadata, reader, leaseKeeper, segmentName, logger, clock, periodMs: leaseTtlMs },
      options,
    );
    if (mooncake.mirror !== undefined) opened.add(mooncake.mirror);
    const own = { reader, directory, registrations, sync, objects: new LocalObjects() };
    const shared = { segmentName, logger, metadata, leaseKeeper, engine, digestPool, peers, peerClient };
    return {
      parts: { ...shared, ...own, watches: new ObjectWatches(), activity: new SwarmActivity(), ...mooncake },
      close: () => opened.close(),
    };
  } catch (error) {
    await opened.close();
    throw error;
  }
}
