/** The public API of the package. */
export type { Clock } from './core/clock.ts';
export { ErrorCode, type ErrorContext, isP2PStoreError, P2PStoreError } from './core/errors.ts';
export type { Notification, NotificationListener } from './engine/mooncake/notifications.ts';
export type { NicPriorityMatrix } from './engine/nic-priority-matrix.ts';
export type { PathState } from './engine/paths/path-health.ts';
export type { PathStatus } from './engine/paths/path-status.ts';
export type { RegisterMemoryOptions } from './engine/registered-ranges.ts';
export type { Segment } from './engine/segment.ts';
export type { NetworkCard } from './engine/topology/network-cards.ts';
export { type RdmaDevice, readTopology, type Topology } from './engine/topology/topology.ts';
export type {
  Batch,
  LocalRange,
  RefuseWhen,
  Task,
  TaskStatus,
  TransferPriority,
  TransferRequest,
} from './engine/transfer.ts';
export { TransferEngine, type TransferEngineOptions } from './engine/transfer-engine.ts';
export type { TransportName } from './engine/transport/transport.ts';
export type { TransportChoice } from './engine/transport-route.ts';
export { allocate, MemoryRegion } from './memory/memory-region.ts';
export type { MemoryInput } from './memory/resolve-memory.ts';
export type { EtcdOptions, EtcdTlsOptions } from './metadata/etcd/etcd-address.ts';
export type { LogFields, Logger } from './observability/logger.ts';
export type {
  GetReplicaOptions,
  RegisterFileOptions,
  RegisterOptions,
  StatusWatchCallOptions,
  StoreCallOptions,
} from './store/call-options.ts';
export type { ObjectEvent } from './store/object-watch.ts';
export { newP2PStore, P2PStore } from './store/p2p-store.ts';
export type { PayloadInfo } from './store/payload-info.ts';
export type { FolderContent, FolderReplicaResult, ReplicaResult } from './store/results.ts';
export type { ObjectStatus, SourceFlow, SourceListing, SourceStatus } from './store/status.ts';
export type { P2PStoreOptions } from './store/store-parts.ts';
export type { DownloadProgress, DownloadSource } from './swarm/download-types.ts';
