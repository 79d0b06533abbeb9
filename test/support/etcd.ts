import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { openMetadataStore } from '../../src/metadata/open-metadata-store.ts';
import { eventually } from './eventually.ts';

const READY = /ready to serve client requests|serving client (?:requests|traffic)/;

export interface EtcdCertificates {
  readonly ca: string;
  readonly serverCert: string;
  readonly serverKey: string;
  readonly clientCert: string;
  readonly clientKey: string;
}

interface MemberOptions {
  readonly name: string;
  readonly folder: string;
  readonly clientPort: number;
  readonly peerPort: number;
  readonly initialCluster: string;
  readonly certificates: EtcdCertificates | undefined;
}

/** One real etcd process with a data folder of its own. */
export class EtcdMember {
  readonly #options: MemberOptions;
  #process: ChildProcess | undefined;
  #output = '';

  constructor(options: MemberOptions) {
    this.#options = options;
  }

  /** `127.0.0.1:port`, which is a metadata URI too. */
  get endpoint(): string {
    return `127.0.0.1:${this.#options.clientPort}`;
  }

  /** Starts the process; call {@link ready} to wait for it. */
  spawn(): void {
    const { name, folder, clientPort, peerPort, initialCluster, certificates } = this.#options;
    const clientUrl = `${certificates === undefined ? 'http' : 'https'}://127.0.0.1:${clientPort}`;
    const peerUrl = `http://127.0.0.1:${peerPort}`;
    this.#output = '';
    const flags: Record<string, string> = {
      name,
      'data-dir': path.join(folder, name),
      'listen-client-urls': clientUrl,
      'advertise-client-urls': clientUrl,
      'listen-peer-urls': peerUrl,
      'initial-advertise-peer-urls': peerUrl,
      'initial-cluster': initialCluster,
      ...(certificates && {
        'cert-file': certificates.serverCert,
        'key-file': certificates.serverKey,
        'trusted-ca-file': certificates.ca,
        'client-cert-auth': 'true',
      }),
    };
    const args = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
    const child = spawn('etcd', args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...(process.arch === 'arm64' && { ETCD_UNSUPPORTED_ARCH: 'arm64' }) },
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        if (!READY.test(this.#output)) this.#output += text;
      });
    }
    child.on('error', () => {}); // told by ready()
    this.#process = child;
  }

  async ready(): Promise<void> {
    const hasEnded = (): boolean => this.#process?.exitCode !== null || this.#process.pid === undefined;
    await eventually('etcd to be ready', () => hasEnded() || READY.test(this.#output));
    if (hasEnded()) throw new Error(`etcd ended at its start:\n${this.#output.slice(-2000)}`);
  }

  async start(): Promise<void> {
    this.spawn();
    await this.ready();
  }

  /** Ends it gently. The data stay. */
  stop(): Promise<void> {
    return this.#end('SIGTERM');
  }

  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  freeze(): void {
    this.#process?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#process?.kill('SIGCONT');
  }

  /** Calls etcd's JSON gateway, which needs no client of ours. */
  async post(route: string, body: object, token?: string): Promise<Record<string, unknown>> {
    const response = await fetch(`http://${this.endpoint}/v3/${route}`, {
      method: 'POST',
      body: JSON.stringify(body),
      ...(token !== undefined && { headers: { authorization: token } }),
    });
    const answer = (await response.json()) as Record<string, unknown>;
    if (!response.ok) throw new Error(`etcd refused ${route}: ${JSON.stringify(answer)}`);
    return answer;
  }

  /** Makes etcd forget every token of `root`, as it does when they expire. A restart alone brings them back. */
  async forgetTokens(password: string): Promise<void> {
    const { token } = await this.post('auth/authenticate', { name: 'root', password });
    await this.post('auth/user/changepw', { name: 'root', password }, String(token));
  }

  async isLeader(): Promise<boolean> {
    const { leader, header } = (await this.post('maintenance/status', {})) as {
      leader: string;
      header: { member_id: string };
    };
    return leader === header.member_id;
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGCONT'); // a frozen process hears no SIGTERM
    child.kill(signal);
    await ended;
  }
}

/** A throwaway etcd cluster on free ports. */
export interface EtcdCluster extends AsyncDisposable {
  readonly members: readonly EtcdMember[];
  /** The first member. */
  readonly member: EtcdMember;
  readonly certificates: EtcdCertificates | undefined;
  /** Names all members. */
  readonly uri: string;
  leader(): Promise<EtcdMember>;
  /** Forgets all history up to now. */
  compact(): Promise<void>;
}

export interface EtcdClusterOptions {
  /** Default 1. */
  readonly members?: number;
  /** Turns authentication on, with a user `root` of this password. */
  readonly password?: string;
  /** Serves TLS, and demands a client certificate. */
  readonly tls?: boolean;
}

export async function startEtcd(options: EtcdClusterOptions = {}): Promise<EtcdCluster> {
  requireProgram('etcd', 'install etcd-server (apt-get install etcd-server)');
  const count = options.members ?? 1;
  const folder = await mkdtemp(path.join(os.tmpdir(), 'p2pstore-etcd-'));
  const certificates = options.tls === true ? await makeCertificates(folder) : undefined;
  const ports = await findFreePorts(2 * count);
  const peers = Array.from({ length: count }, (_, index) => ports[count + index] ?? 0);
  const initialCluster = peers.map((port, index) => `m${index}=http://127.0.0.1:${port}`).join(',');
  const members = peers.map(
    (peerPort, index) =>
      new EtcdMember({
        name: `m${index}`,
        folder,
        clientPort: ports[index] ?? 0,
        peerPort,
        initialCluster,
        certificates,
      }),
  );
  const stop = async (): Promise<void> => {
    await Promise.all(members.map((member) => member.kill()));
    await rm(folder, { recursive: true, force: true });
  };
  const [member] = members;
  if (member === undefined) throw new Error('Cannot start etcd: no member was asked for');
  try {
    for (const each of members) each.spawn();
    await Promise.all(members.map((each) => each.ready()));
    if (options.password !== undefined) await enableAuth(member, options.password);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    members,
    member,
    certificates,
    uri: `${options.tls === true ? 'etcds' : 'etcd'}://${members.map((each) => each.endpoint).join(',')}`,
    leader: () =>
      eventually('a leader', async () => {
        for (const each of members) if (await each.isLeader().catch(() => false)) return each;
        return undefined;
      }),
    async compact() {
      const { header } = (await member.post('kv/range', { key: 'AA==' })) as { header: { revision: string } };
      await member.post('kv/compaction', { revision: header.revision, physical: true });
    },
    [Symbol.asyncDispose]: stop,
  };
}

async function enableAuth(member: EtcdMember, password: string): Promise<void> {
  await member.post('auth/user/add', { name: 'root', password });
  await member.post('auth/role/add', { name: 'root' });
  await member.post('auth/user/grant', { user: 'root', role: 'root' });
  await member.post('auth/enable', {});
}

function requireProgram(name: string, remedy: string): void {
  const folders = (process.env['PATH'] ?? '').split(path.delimiter);
  if (!folders.some((folder) => existsSync(path.join(folder, name)))) {
    throw new Error(`Cannot run this test: there is no program "${name}", ${remedy}`);
  }
}

/** Ports nobody listens on now; asked for together, so that they differ. */
export async function findFreePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => net.createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

async function makeCertificates(folder: string): Promise<EtcdCertificates> {
  requireProgram('openssl', 'install openssl');
  const file = (name: string): string => path.join(folder, name);
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl('req', '-x509', ...newKey, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2', '-subj', '/CN=test-ca');
  await writeFile(
    file('extensions'),
    'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n',
  );
  for (const name of ['server', 'client']) {
    openssl('req', ...newKey, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
    const signing = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', 'extensions'];
    openssl('x509', '-req', '-in', `${name}.csr`, ...signing, '-out', `${name}.pem`);
  }
  return {
    ca: file('ca.pem'),
    serverCert: file('server.pem'),
    serverKey: file('server.key'),
    clientCert: file('client.pem'),
    clientKey: file('client.key'),
  };
}

/** So that one cluster can serve many tests. */
export async function deleteAllKeys(uri: string): Promise<void> {
  await using metadata = await openMetadataStore(uri);
  const { entries } = await metadata.list('');
  for (const { key } of entries) await metadata.commit([], [{ kind: 'delete', key }]);
}
