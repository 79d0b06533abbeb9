import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../../src/core/errors.ts';
import { PayloadFeed } from '../../../../src/store/mooncake/payload-feed.ts';
import { completeCopies, objectOfPayload } from '../../../../src/store/mooncake/payload-object.ts';
import type { FoundPayload } from '../../../../src/store/mooncake/payload-reader.ts';
import { decodePayload, type Payload } from '../../../../src/store/mooncake/payload-record.ts';
import type { SourceInfo } from '../../../../src/swarm/source-feed.ts';
import { CAPTURED_WITH_REPLICA, CAPTURED_WITHOUT_GOLD } from '../../../support/captured-payloads.ts';
import { recordingLogger } from '../../../support/test-store.ts';

const [GOLD, REPLICA] = ['127.0.0.1:12345', '127.0.0.1:12346'];
const name = 'foo/bar';
const read = (text: string): Payload => decodePayload('k', Buffer.from(text));
const object = objectOfPayload(name, read(CAPTURED_WITH_REPLICA));
const from = (...segments: string[]) => segments.map((segment) => ({ segment, role: 'replica', bytes: 1 }) as const);
const noSource = expect.objectContaining({ code: ErrorCode.NoSource });

/** A record that can be replaced, and sources of ours. */
class Surroundings {
  ours: SourceInfo[] = [];
  #revision = 1n;
  #payload: Payload | undefined = read(CAPTURED_WITH_REPLICA);

  put(payload: Payload | undefined): void {
    this.#payload = payload;
    this.#revision += 1n;
  }

  replica(segment: string, isComplete: boolean): void {
    const { generation } = object;
    this.ours = [{ segment, isComplete, generation, role: 'replica', peerEndpoint: 'h:1', ranges: [] }];
  }

  open(): Promise<PayloadFeed> {
    const find = (): FoundPayload | undefined =>
      this.#payload && {
        object: objectOfPayload(name, this.#payload),
        payload: this.#payload,
        revision: this.#revision,
        copies: completeCopies(this.#payload),
      };
    return PayloadFeed.open({
      name,
      object,
      ours: { current: () => this.ours, onChange: () => () => {} },
      payloads: {
        readReadable: () => Promise.resolve(find()),
        isUnchanged: (_name, revision) => Promise.resolve(this.#payload !== undefined && revision === this.#revision),
      },
      signal: new AbortController().signal,
      logger: recordingLogger(),
    });
  }
}

describe('PayloadFeed', () => {
  test('offers the copies of Mooncake stores beside ours, complete and without a peer service', async () => {
    const around = new Surroundings();
    around.replica(REPLICA, true);
    await using feed = await around.open();
    expect(feed.current().map(({ segment, peerEndpoint }) => [segment, peerEndpoint])).toEqual([
      [REPLICA, 'h:1'],
      [GOLD, ''],
    ]);
  });

  test('confirms what is still there, or was taken back by others than it came from', async () => {
    const around = new Surroundings();
    await using feed = await around.open();
    await feed.confirm(from(GOLD, REPLICA));
    around.put(read(CAPTURED_WITHOUT_GOLD));
    await feed.confirm(from(REPLICA));
  });

  test('does not confirm what was taken back, even when it was put there again elsewhere', async () => {
    const around = new Surroundings();
    await using feed = await around.open();
    around.put(read(CAPTURED_WITHOUT_GOLD));
    await expect(feed.confirm(from(GOLD))).rejects.toThrow(noSource);
    around.put(read(CAPTURED_WITH_REPLICA.replace('139908089905152', '4096')));
    await expect(feed.confirm(from(GOLD))).rejects.toThrow(noSource);
    around.put(undefined);
    await expect(feed.confirm(from(REPLICA))).rejects.toThrow(noSource);
  });

  test('confirms what came from a complete replica of ours; a partial one may have it from anywhere', async () => {
    const around = new Surroundings();
    await using feed = await around.open();
    around.put(read(CAPTURED_WITHOUT_GOLD));
    around.replica('B', false);
    await expect(feed.confirm(from('B'))).rejects.toThrow(noSource);
    around.replica('B', true);
    await feed.confirm(from('B'));
  });

  test('offers nothing of another object that took the name', async () => {
    const around = new Surroundings();
    around.put(read(CAPTURED_WITH_REPLICA.replace('139908089905152', '4096')));
    await using feed = await around.open();
    expect(feed.current()).toEqual([]);
  });
});
