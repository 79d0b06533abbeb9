import { describe, expect, test } from 'vitest';
import { TransferEngine } from '../../../src/engine/transfer-engine.ts';
import { CliProcess } from '../../support/cli-process.ts';
import { eventually } from '../../support/eventually.ts';

describe('p2pstore metadata-server', () => {
  test('lets engines find each other, until it is interrupted', async () => {
    await using server = new CliProcess(['metadata-server', '--listen', '127.0.0.1:0', '--json']);
    const line = await eventually('its address', () => /^\{.*\}$/m.exec(server.stdout)?.[0]);
    const { event, metadata } = JSON.parse(line) as { event: string; metadata: string };
    expect(event).toBe('serving');
    await using first = await TransferEngine.open({ metadata, segmentName: 'first', host: '127.0.0.1' });
    await using second = await TransferEngine.open({ metadata, segmentName: 'second', host: '127.0.0.1' });
    expect(await first.openSegment('second')).toMatchObject({ port: second.dataPort });
    await Promise.all([first.close(), second.close()]);
    server.kill('SIGINT');
    expect((await server.ended()).exitCode).toBe(0);
  });
});
