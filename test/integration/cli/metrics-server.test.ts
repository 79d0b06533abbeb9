import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { CliProcess, runCli } from '../../support/cli-process.ts';
import { metricOf } from '../../support/metrics-text.ts';
import { makeTemporaryFolder } from '../../support/temporary-folder.ts';

const SIZE = 1_000_003;

describe('p2pstore --metrics-listen', () => {
  test('is scraped while publish and get --seed serve, and its port can be taken once', async () => {
    await using folder = await makeTemporaryFolder();
    await fs.writeFile(folder.file('model.bin'), randomBytes(SIZE));
    const common = ['--metadata', `local:${folder.file('metadata')}`, '--json'];
    const listen = ['--metrics-listen', '127.0.0.1:0'];
    const publish = ['publish', folder.file('model.bin'), '--name', 'model', ...common];
    await using publisher = new CliProcess([...publish, ...listen]);
    const { url } = await publisher.event('metrics');
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/metrics$/);
    await publisher.event('serving');

    const args = ['get', 'model', '--output', folder.file('copy.bin'), '--seed', '--transports', 'tcp'];
    const env = { P2PSTORE_METRICS_LISTEN: '127.0.0.1:0' };
    await using receiver = new CliProcess([...args, ...common], { env });
    await receiver.event('serving');
    const receiverUrl = String((await receiver.event('metrics'))['url']);

    const response = await fetch(String(url));
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    const given = await response.text();
    expect(metricOf(given, 'p2pstore_object_verified_bytes', { role: 'gold' })).toBe(SIZE);
    expect(metricOf(given, 'p2pstore_served_bytes_total', { operation: 'read' })).toBe(SIZE);
    const taken = await (await fetch(receiverUrl)).text();
    expect(metricOf(taken, 'p2pstore_downloaded_bytes_total', { source_role: 'gold' })).toBe(SIZE);

    expect((await fetch(new URL('/other', String(url)))).status).toBe(404);
    expect((await fetch(String(url), { method: 'POST' })).status).toBe(404);

    const { host } = new URL(String(url));
    const second = await runCli([...publish, '--force', '--metrics-listen', host]);
    expect(second).toMatchObject({ exitCode: 2 });
    expect(second.stderr).toContain(`Cannot serve metrics at ${host}: the port is taken (P2P_INVALID_ARGUMENT)`);

    publisher.kill('SIGINT');
    expect((await publisher.ended()).exitCode).toBe(0);
  });
});
