/** Every metric there is: its name, what it means, and its labels. `docs/metrics.md` lists them for people. */

export interface MetricDefinition {
  /** A counter starts at 0 with its store and only grows. */
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: readonly string[];
}

export const METRICS = {
  p2pstore_info: { type: 'gauge', help: 'Always 1; its label names the store.', labels: ['segment'] },

  p2pstore_objects: {
    type: 'gauge',
    help: 'Objects that this store has, those that are still coming too.',
    labels: ['role'],
  },
  p2pstore_object_bytes: { type: 'gauge', help: 'Size of the objects that this store has.', labels: ['role'] },
  p2pstore_object_verified_bytes: {
    type: 'gauge',
    help: 'Bytes of these objects that are here and offered to other stores.',
    labels: ['role'],
  },
  p2pstore_object_pieces: { type: 'gauge', help: 'Pieces of the objects that this store has.', labels: ['role'] },
  p2pstore_object_verified_pieces: {
    type: 'gauge',
    help: 'Pieces that are here and offered to other stores.',
    labels: ['role'],
  },

  p2pstore_downloads: { type: 'gauge', help: 'Downloads in progress.', labels: [] },
  p2pstore_download_bytes: { type: 'gauge', help: 'Size of the downloads in progress.', labels: [] },
  p2pstore_download_verified_bytes: {
    type: 'gauge',
    help: 'Bytes of the downloads in progress that are here and verified.',
    labels: [],
  },
  p2pstore_download_bytes_per_second: {
    type: 'gauge',
    help: 'Speed of the downloads in progress over about the last second.',
    labels: [],
  },
  p2pstore_download_neighbours: {
    type: 'gauge',
    help: 'Connections on which downloads in progress hear what a source has.',
    labels: [],
  },
  p2pstore_downloads_ended_total: { type: 'counter', help: 'Downloads that have ended.', labels: ['outcome'] },
  p2pstore_downloaded_bytes_total: {
    type: 'counter',
    help: 'Verified bytes that downloads have taken, by the role of who gave them.',
    labels: ['source_role'],
  },
  p2pstore_downloaded_pieces_total: { type: 'counter', help: 'Pieces that downloads have verified.', labels: [] },
  p2pstore_digest_mismatches_total: { type: 'counter', help: 'Pieces that came with a wrong digest.', labels: [] },
  p2pstore_source_bans_total: {
    type: 'counter',
    help: 'Sources that a download has stopped to ask for good.',
    labels: ['reason'],
  },

  p2pstore_peer_sessions: { type: 'gauge', help: 'Connections of other stores to the peer port.', labels: [] },
  p2pstore_followers: { type: 'gauge', help: 'Streams that tell other stores what is here of an object.', labels: [] },

  p2pstore_path_state: {
    type: 'gauge',
    help: '1 for the state that a path over TCP is in; of peers used in the last minute.',
    labels: ['peer', 'local_card', 'remote_card', 'remote_address', 'state'],
  },
  p2pstore_path_bytes_total: {
    type: 'counter',
    help: 'Bytes that a path has moved, in either direction.',
    labels: ['peer', 'local_card', 'remote_card', 'remote_address'],
  },
  p2pstore_path_in_flight_bytes: {
    type: 'gauge',
    help: 'Bytes that are under way on a path.',
    labels: ['peer', 'local_card', 'remote_card', 'remote_address'],
  },
  p2pstore_path_bytes_per_second: {
    type: 'gauge',
    help: 'Measured speed of a path while it had work; 0 where the system chooses the way.',
    labels: ['peer', 'local_card', 'remote_card', 'remote_address'],
  },
  p2pstore_path_faults_total: {
    type: 'counter',
    help: 'Times that a path has failed.',
    labels: ['peer', 'local_card', 'remote_card', 'remote_address'],
  },

  p2pstore_transfer_peers: {
    type: 'gauge',
    help: 'Segments that requests went to, by the transport that leads there now.',
    labels: ['transport'],
  },
  p2pstore_transfer_bytes_total: {
    type: 'counter',
    help: 'Bytes that requests of this store have read from peers, or written to them.',
    labels: ['transport', 'operation'],
  },
  p2pstore_transfer_tasks_total: { type: 'counter', help: 'Requests that have ended.', labels: ['status'] },
  p2pstore_served_bytes_total: {
    type: 'counter',
    help: 'Bytes that requests of peers have read from this store, or written to it, over TCP.',
    labels: ['operation'],
  },
} as const;

export type MetricName = keyof typeof METRICS;

/** A value for each label of a metric; the empty text stands for none. */
export type MetricLabels<N extends MetricName> = Readonly<Record<(typeof METRICS)[N]['labels'][number], string>>;
