/** Which host an engine advertises, and which it listens on. */
import { isIP } from 'node:net';
import os from 'node:os';

/**
 * The host part of a segment name of the form `host:port`, else the first address of an interface
 * that is up and not loopback, else loopback.
 */
export function defaultHost(segmentName: string): string {
  const [, host] = /^(\[[0-9a-fA-F:.%\w]+\]|[^\s:/[\]]+):\d+$/.exec(segmentName) ?? [];
  if (host !== undefined) return host.replace(/^\[(.*)\]$/, '$1');
  const addresses = Object.values(os.networkInterfaces()).flatMap((entries) => entries ?? []);
  const outside = addresses.filter(({ internal }) => !internal);
  return (outside.find(({ family }) => family === 'IPv4') ?? outside[0])?.address ?? '127.0.0.1';
}

/** Who is advertised on loopback listens only there; everybody else on all interfaces. */
export function bindHostFor(host: string): string {
  if (host === 'localhost') return '127.0.0.1';
  if (isIP(host) === 4 && host.startsWith('127.')) return host;
  if (host === '::1') return host;
  return hasIpv6() ? '::' : '0.0.0.0';
}

/** Whether only processes of this machine reach it there. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

function hasIpv6(): boolean {
  return Object.values(os.networkInterfaces()).some((entries) => entries?.some(({ family }) => family === 'IPv6'));
}
