import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { MetadataServer } from '../../../src/metadata/http/metadata-server.ts';
import { findFreePorts, startEtcd } from '../../support/etcd.ts';
import { eventually } from '../../support/eventually.ts';
import { INTEROP_PYTHON } from './mooncake-peer.ts';

/** Where engines of both kinds find each other. */
export interface MeetingPlace extends AsyncDisposable {
  /** As our engine takes it. */
  readonly ours: string;
  /** As theirs takes it. */
  readonly theirs: string;
}

async function openEtcd(): Promise<MeetingPlace> {
  const cluster = await startEtcd();
  return {
    ours: cluster.uri,
    theirs: cluster.member.endpoint,
    [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose](),
  };
}

async function openOurService(): Promise<MeetingPlace> {
  const server = await MetadataServer.open();
  return { ours: server.uri, theirs: server.uri, [Symbol.asyncDispose]: () => server.close() };
}

/** The service that comes with their package. */
async function openTheirService(): Promise<MeetingPlace> {
  const [port] = await findFreePorts(1);
  const program = path.join(path.dirname(INTEROP_PYTHON), 'mooncake_http_metadata_server');
  const child = spawn(program, ['--host', '127.0.0.1', '--port', String(port)], { stdio: 'ignore' });
  const uri = `http://127.0.0.1:${port}/metadata`;
  await eventually('their metadata service', () => fetch(`${uri}?key=none`).catch(() => undefined), {
    deadlineMs: 30_000,
  });
  return {
    ours: uri,
    theirs: uri,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

async function openNone(): Promise<MeetingPlace> {
  return { ours: 'P2PHANDSHAKE', theirs: 'P2PHANDSHAKE', [Symbol.asyncDispose]: async () => {} };
}

export const MEETING_PLACES: Readonly<Record<string, () => Promise<MeetingPlace>>> = {
  etcd: openEtcd,
  'our HTTP service': openOurService,
  'their HTTP service': openTheirService,
  P2PHANDSHAKE: openNone,
};
