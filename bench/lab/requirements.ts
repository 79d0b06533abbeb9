import { existsSync, statfsSync } from 'node:fs';
import path from 'node:path';
import type { LabOptions } from './options.ts';

const PROGRAMS = { ip: 'iproute2', tc: 'iproute2', etcd: 'etcd-server', etcdctl: 'etcd-client' };

/** Says what this machine lacks for a laboratory; undefined when it lacks nothing that can be told before. */
export function whatIsMissing({ hosts, sizeBytes, program }: LabOptions): string | undefined {
  if (process.platform !== 'linux') return 'it takes Linux, with network namespaces';
  if (process.getuid?.() !== 0) return 'network namespaces take root; run it with sudo, or in a privileged container';
  const missing = Object.entries(PROGRAMS).filter(([name]) => !isOnPath(name));
  if (missing.length > 0) {
    const names = missing.map(([name]) => `"${name}"`).join(', ');
    const packages = [...new Set(missing.map(([, name]) => name))].join(' ');
    return `there is no program ${names} on PATH; on Debian and Ubuntu: apt-get install ${packages}`;
  }
  if (!existsSync(program)) return `there is no program ${program}; --p2pstore names another`;
  const needed = (hosts + 1) * sizeBytes;
  const { bavail, bsize } = statfsSync('/dev/shm');
  const free = bavail * bsize;
  if (free < needed)
    return `${hosts + 1} copies of the object do not fit into /dev/shm: ${needed} bytes, ${free} are free`;
  return undefined;
}

function isOnPath(name: string): boolean {
  const folders = (process.env['PATH'] ?? '').split(path.delimiter);
  return folders.some((folder) => existsSync(path.join(folder, name)));
}
