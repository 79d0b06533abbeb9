import { describe, expect, test } from 'vitest';
import type { P2PStoreOptions } from '../../../src/store/store-parts.ts';
import { eventually } from '../../support/eventually.ts';
import { metricOf, metricsOf } from '../../support/metrics-text.ts';
import { fillBytes, MIB, SHARD, TestStores } from '../../support/test-store.ts';

/** Over sockets, so that both sides count. */
const TCP: P2PStoreOptions = { transports: ['tcp'] };
const SIZE = 3 * MIB + 5;
const PIECES = 13; // of 256 KiB

describe('P2PStore.metrics', () => {
  test('has the numbers of a pull on both sides', async () => {
    await using stores = new TestStores();
    const [trainer, inference] = [await stores.open('trainer', TCP), await stores.open('inference', TCP)];
    const data = fillBytes(SIZE);
    await trainer.register('model', [data], [SIZE], SHARD, '*', { pieceSize: 256 * 1024 });
    await inference.getReplica('model', [Buffer.alloc(SIZE)], [SIZE]);

    const taken = await inference.metrics();
    const expected = {
      'p2pstore_info{segment="inference"}': 1,
      'p2pstore_objects{role="gold"}': 0,
      'p2pstore_objects{role="replica"}': 1,
      'p2pstore_object_bytes{role="replica"}': SIZE,
      'p2pstore_object_verified_bytes{role="replica"}': SIZE,
      'p2pstore_object_pieces{role="replica"}': PIECES,
      'p2pstore_object_verified_pieces{role="replica"}': PIECES,
      p2pstore_downloads: 0,
      p2pstore_download_bytes: 0,
      'p2pstore_downloads_ended_total{outcome="completed"}': 1,
      'p2pstore_downloads_ended_total{outcome="failed"}': 0,
      'p2pstore_downloaded_bytes_total{source_role="gold"}': SIZE,
      'p2pstore_downloaded_bytes_total{source_role="replica"}': 0,
      p2pstore_downloaded_pieces_total: PIECES,
      p2pstore_digest_mismatches_total: 0,
      'p2pstore_source_bans_total{reason="wrong_bytes"}': 0,
      'p2pstore_transfer_peers{transport="tcp"}': 1,
      'p2pstore_transfer_bytes_total{transport="tcp",operation="read"}': SIZE,
      'p2pstore_transfer_tasks_total{status="completed"}': PIECES,
      'p2pstore_served_bytes_total{operation="read"}': 0,
    };
    expect(metricsOf(taken, ...Object.keys(expected))).toEqual(expected);
    expect(metricOf(taken, 'p2pstore_path_bytes_total', { peer: 'trainer' })).toBe(SIZE);
    expect(metricOf(taken, 'p2pstore_path_state', { peer: 'trainer', state: 'up' })).toBe(1);
    expect(metricOf(taken, 'p2pstore_path_in_flight_bytes')).toBe(0);

    const given = await trainer.metrics();
    expect(metricOf(given, 'p2pstore_served_bytes_total', { operation: 'read' })).toBe(SIZE);
    expect(metricOf(given, 'p2pstore_object_verified_bytes', { role: 'gold' })).toBe(SIZE);
    expect(metricOf(given, 'p2pstore_peer_sessions')).toBe(1);
  });

  test('shows a pull under way, and how it ended', async () => {
    await using stores = new TestStores();
    const trainer = await stores.open('trainer', TCP);
    const inference = await stores.open('inference', { ...TCP, maxDownloadBytesPerSecond: MIB / 2 });
    const data = fillBytes(4 * MIB);
    await trainer.register('model', [data], [data.length], SHARD, '*', { pieceSize: 64 * 1024 });
    const stop = new AbortController();
    const pull = inference.getReplica('model', [Buffer.alloc(data.length)], [data.length], { signal: stop.signal });
    pull.catch(() => {});
    const text = await eventually('bytes', async () => {
      const now = await inference.metrics();
      return (metricOf(now, 'p2pstore_download_verified_bytes') ?? 0) > 0 ? now : undefined;
    });
    expect(metricsOf(text, 'p2pstore_downloads', 'p2pstore_download_bytes', 'p2pstore_download_neighbours')).toEqual({
      p2pstore_downloads: 1,
      p2pstore_download_bytes: data.length,
      p2pstore_download_neighbours: 1,
    });
    expect(metricOf(await trainer.metrics(), 'p2pstore_followers')).toBe(1);
    stop.abort(new Error('enough'));
    await expect(pull).rejects.toThrow('enough');
    const after = await inference.metrics();
    expect(metricOf(after, 'p2pstore_downloads')).toBe(0);
    expect(metricOf(after, 'p2pstore_downloads_ended_total', { outcome: 'canceled' })).toBe(1);
    expect(metricOf(after, 'p2pstore_objects', { role: 'replica' })).toBe(0);
  });

  test('is refused by a store that is closed', async () => {
    await using stores = new TestStores();
    const store = await stores.open('a');
    await store.close();
    await expect(store.metrics()).rejects.toMatchObject({ code: 'P2P_CLOSED' });
  });
});
