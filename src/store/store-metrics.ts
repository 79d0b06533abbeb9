/** The metrics of one store, read when somebody asks. */
import { MetricSamples } from '../observability/metric-samples.ts';
import { pieceAt } from '../swarm/layout.ts';
import type { SharedObject } from '../swarm/shared-object.ts';
import type { SwarmActivity } from '../swarm/swarm-activity.ts';
import type { StoreParts } from './store-parts.ts';

type MetricParts = Pick<StoreParts, 'segmentName' | 'objects' | 'activity' | 'peers' | 'engine'>;

/** @throws P2P_CLOSED */
export async function readStoreMetrics(parts: MetricParts): Promise<string> {
  const { segmentName, objects, activity, peers, engine } = parts;
  const samples = new MetricSamples();
  samples.add('p2pstore_info', { segment: segmentName }, 1);
  const shared = objects.all().map((local) => local.shared);
  for (const role of ['gold', 'replica'] as const) {
    addObjects(
      samples,
      role,
      shared.filter((object) => object.role === role),
    );
  }
  addDownloads(samples, activity);
  samples.add('p2pstore_peer_sessions', {}, peers.sessions);
  samples.add('p2pstore_followers', {}, peers.followers);
  await engine.readMetrics(samples);
  return await samples.format();
}

function addObjects(samples: MetricSamples, role: SharedObject['role'], objects: readonly SharedObject[]): void {
  const sum = (of: (object: SharedObject) => number): number =>
    objects.reduce((total, object) => total + of(object), 0);
  samples.add('p2pstore_objects', { role }, objects.length);
  samples.add(
    'p2pstore_object_bytes',
    { role },
    sum(({ layout }) => layout.totalSize),
  );
  samples.add('p2pstore_object_verified_bytes', { role }, sum(verifiedBytes));
  samples.add(
    'p2pstore_object_pieces',
    { role },
    sum(({ pieces }) => pieces),
  );
  samples.add(
    'p2pstore_object_verified_pieces',
    { role },
    sum(({ verified }) => verified.count),
  );
}

/** All pieces are of one size, but the last, which may be shorter. */
function verifiedBytes({ layout, pieces, verified }: SharedObject): number {
  const last = pieces - 1;
  const missingOfLast = verified.has(last) ? layout.pieceSizeBytes - pieceAt(layout, last).lengthBytes : 0;
  return verified.count * layout.pieceSizeBytes - missingOfLast;
}

function addDownloads(samples: MetricSamples, activity: SwarmActivity): void {
  const running = [...activity.running];
  const progress = running.map((download) => download.progress());
  const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);
  samples.add('p2pstore_downloads', {}, running.length);
  samples.add('p2pstore_download_bytes', {}, total(progress.map(({ bytesTotal }) => bytesTotal)));
  samples.add('p2pstore_download_verified_bytes', {}, total(progress.map(({ bytesDone }) => bytesDone)));
  samples.add('p2pstore_download_bytes_per_second', {}, total(progress.map(({ bytesPerSecond }) => bytesPerSecond)));
  samples.add('p2pstore_download_neighbours', {}, total(running.map(({ connectedNeighbours }) => connectedNeighbours)));
  samples.addEach('p2pstore_downloads_ended_total', 'outcome', activity.ended);
  samples.addEach('p2pstore_downloaded_bytes_total', 'source_role', activity.verifiedBytes);
  samples.add('p2pstore_downloaded_pieces_total', {}, activity.verifiedPieces);
  samples.add('p2pstore_digest_mismatches_total', {}, activity.mismatches);
  samples.addEach('p2pstore_source_bans_total', 'reason', activity.bans);
}
