import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../../src/core/errors.ts';
import { closedError, EtcdChannel } from '../../../../src/metadata/etcd/etcd-channel.ts';
import { findFreePorts } from '../../../support/etcd.ts';

describe('EtcdChannel', () => {
  test('does not take many calls that wait for a server for a leak', async () => {
    const warnings: string[] = [];
    const onWarning = (warning: Error): void => {
      warnings.push(warning.name);
    };
    process.on('warning', onWarning);
    const [port] = await findFreePorts(1);
    const uri = `etcd://127.0.0.1:${port}`;
    const channel = new EtcdChannel({
      uri,
      endpoints: [`http://127.0.0.1:${port}`],
      credentials: undefined,
      tls: undefined,
    });
    const calls = Array.from({ length: 16 }, () =>
      channel.call(({ kv }, { options }) => kv.range({}, options), { signal: undefined, deadlineMs: 500 }),
    );
    const outcomes = await Promise.allSettled(calls);
    for (const outcome of outcomes) expect(outcome).toMatchObject({ reason: { code: ErrorCode.MetadataUnavailable } });
    channel.close(closedError(uri));
    process.off('warning', onWarning);
    expect(warnings).toEqual([]);
  });
});
