/**
 * TCP sockets by system call, for the data plane: bytes go between a socket and an address without
 * a Buffer in between, and a bad address is EFAULT from the kernel instead of a signal. All sockets
 * are non-blocking and close-on-exec. Calls return the system's result; negative means "see `errno()`".
 */
import { isIPv6 } from 'node:net';
import os from 'node:os';
import { errno, libcFunction, systemCallError } from './libc.ts';
import { Scratch } from './scratch.ts';

const socket = libcFunction<[number, number, number], number>('int socket(int domain, int type, int protocol)');
const bind = libcFunction<[number, number, number], number>('int bind(int fd, uintptr_t address, uint length)');
const listen = libcFunction<[number, number], number>('int listen(int fd, int backlog)');
const connect = libcFunction<[number, number, number], number>('int connect(int fd, uintptr_t address, uint length)');
const accept4 = libcFunction<[number, null, null, number], number>(
  'int accept4(int fd, void *address, void *length, int flags)',
);
const getsockname = libcFunction<[number, number, number], number>(
  'int getsockname(int fd, uintptr_t address, uintptr_t length)',
);
const getpeername = libcFunction<[number, number, number], number>(
  'int getpeername(int fd, uintptr_t address, uintptr_t length)',
);
const setsockopt = libcFunction<[number, number, number, number, number], number>(
  'int setsockopt(int fd, int level, int option, uintptr_t value, uint length)',
);
const getsockopt = libcFunction<[number, number, number, number, number], number>(
  'int getsockopt(int fd, int level, int option, uintptr_t value, uintptr_t length)',
);
const shutdown = libcFunction<[number, number], number>('int shutdown(int fd, int how)');
const close = libcFunction<[number], number>('int close(int fd)');

/** `recv(fd, address, length, flags)`: bytes received, 0 at the end of the stream. */
export const receive: (fd: number, address: number, lengthBytes: number, flags: number) => number = libcFunction(
  'int64_t recv(int fd, uintptr_t buffer, size_t length, int flags)',
);
/** `sendmsg(fd, msghdr, flags)`; pass {@link MSG_NOSIGNAL}. */
export const sendMessage: (fd: number, messageHeader: number, flags: number) => number = libcFunction(
  'int64_t sendmsg(int fd, uintptr_t message, int flags)',
);
/** `recvmsg(fd, msghdr, flags)`. */
export const receiveMessage: (fd: number, messageHeader: number, flags: number) => number = libcFunction(
  'int64_t recvmsg(int fd, uintptr_t message, int flags)',
);

/** Errors, not SIGPIPE, when the other side is gone. */
export const MSG_NOSIGNAL = 0x4000;
/** What is received stays to be received again. */
export const MSG_PEEK = 0x2;
export const EAGAIN: number = os.constants.errno.EAGAIN;
export const EINTR: number = os.constants.errno.EINTR;
export const EFAULT: number = os.constants.errno.EFAULT;
export const EMFILE: number = os.constants.errno.EMFILE;
export const ENFILE: number = os.constants.errno.ENFILE;

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM_NONBLOCK_CLOEXEC = 1 | 0o4000 | 0o2000000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_ERROR = 4;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_KEEPALIVE = 9;
const SO_LINGER = 13;
const SO_RCVLOWAT = 18;
const SO_BINDTODEVICE = 25;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_NOTSENT_LOWAT = 25;
const TCP_INFO = 11;
/** Of struct tcp_info, up to and with tcpi_delivery_rate. */
const TCP_INFO_BYTES = 168;
const ROUND_TRIP_OFFSET = 68;
const DELIVERY_RATE_OFFSET = 160;
const TCP_KEEPIDLE = 4;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const SHUT_WR = 1;
const ACCEPT_FLAGS = 0o4000 | 0o2000000;
const KEEPALIVE_IDLE_SECONDS = 60;
/** IFNAMSIZ, without the 0 at its end. */
const CARD_NAME_BYTES_MAX = 15;
/**
 * Between processes of one host nothing is in flight, so a deep send buffer is only memory that falls out of the cache before the
 * receiver copies it: 4 connections moved 2.6 GB/s with the system's own choice and 3.8 with this one
 * (the kernel doubles it; 256 KiB and 1 MiB were slower).
 */
const SAME_HOST_SEND_BUFFER_BYTES = 512 * 1024;

/** A numeric address; host names are resolved before they come here. */
export interface SocketAddress {
  readonly host: string;
  readonly port: number;
}

let arguments_: Scratch | undefined;
/** One scratch a thread: socket set-up is synchronous and never nested. Offset 64 holds lengths and option values. */
function scratch(): Scratch {
  arguments_ ??= new Scratch(4096);
  return arguments_;
}
const VALUE_OFFSET = 64;

function ipv6Groups(host: string): number[] {
  const [head = '', tail] = (host.split('%')[0] ?? '').split('::');
  const parse = (part: string): number[] =>
    part === ''
      ? []
      : part.split(':').flatMap((group) => {
          if (!group.includes('.')) return [Number.parseInt(group, 16)];
          const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number);
          return [a * 256 + b, c * 256 + d];
        });
  const front = parse(head);
  const back = tail === undefined ? [] : parse(tail);
  return [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back];
}

/** Writes a sockaddr_in or sockaddr_in6 at the start of the scratch; returns its length. */
function encodeAddress({ host, port }: SocketAddress): number {
  const { view, bytes } = scratch();
  bytes.fill(0, 0, 28);
  view.setUint16(2, port, false);
  if (!isIPv6(host)) {
    view.setUint16(0, AF_INET, true);
    for (const [index, part] of host.split('.').entries()) view.setUint8(4 + index, Number(part));
    return 16;
  }
  view.setUint16(0, AF_INET6, true);
  for (const [index, group] of ipv6Groups(host).entries()) view.setUint16(8 + index * 2, group, false);
  const zone = host.split('%')[1];
  if (zone !== undefined) view.setUint32(24, scopeIdOf(zone), true);
  return 28;
}

function scopeIdOf(zone: string): number {
  if (/^\d+$/.test(zone)) return Number(zone);
  const entry = os.networkInterfaces()[zone]?.find((address) => address.family === 'IPv6');
  return entry?.family === 'IPv6' ? entry.scopeid : 0;
}

function setOption(fd: number, level: number, option: number, value: number): void {
  const { address, view } = scratch();
  view.setInt32(VALUE_OFFSET, value, true);
  setsockopt(fd, level, option, address + VALUE_OFFSET, 4);
}

function openSocket(host: string): number {
  const fd = socket(isIPv6(host) ? AF_INET6 : AF_INET, SOCK_STREAM_NONBLOCK_CLOEXEC, 0);
  if (fd < 0) throw systemCallError('socket', errno());
  return fd;
}

/** Opens a listening socket. `::` takes IPv4 too. @throws P2P_SYSTEM_CALL_FAILED */
export function openListener(at: SocketAddress, backlog: number): number {
  const fd = openSocket(at.host);
  setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (at.host === '::') setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  if (bind(fd, scratch().address, encodeAddress(at)) < 0 || listen(fd, backlog) < 0) {
    const error = systemCallError(`listen on ${at.host} port ${at.port}`, errno());
    close(fd);
    throw error;
  }
  return fd;
}

export function localPort(fd: number): number {
  const { address, view } = scratch();
  view.setUint32(VALUE_OFFSET, 28, true);
  getsockname(fd, address, address + VALUE_OFFSET);
  return view.getUint16(2, false);
}

/** Accepts one connection; a negative result means none is waiting or `errno()`. */
export function acceptConnection(listener: number): number {
  return accept4(listener, null, null, ACCEPT_FLAGS);
}

/** Where an outgoing connection starts: an address of this machine and, where allowed, the card that has it. */
export interface LocalEnd {
  readonly host: string;
  readonly card: string;
}

/**
 * Starts to connect; the socket becomes writable when that has succeeded or failed.
 *
 * @param from - Undefined: the system chooses.
 * @throws P2P_SYSTEM_CALL_FAILED
 */
export function startConnect(to: SocketAddress, from?: LocalEnd): number {
  const fd = openSocket(to.host);
  if (from !== undefined) bindToCard(fd, from.card);
  if (from !== undefined && bind(fd, scratch().address, encodeAddress({ host: from.host, port: 0 })) < 0) {
    const error = systemCallError(`bind to ${from.host} of ${from.card}`, errno());
    close(fd);
    throw error;
  }
  if (connect(fd, scratch().address, encodeAddress(to)) < 0) {
    const code = errno();
    if (code !== os.constants.errno.EINPROGRESS) {
      close(fd);
      throw systemCallError(`connect to ${to.host} port ${to.port}`, code);
    }
  }
  return fd;
}

/**
 * What a socket sends leaves through that card, whatever the routes say, as two cards of one network have one route
 * between them. Old kernels allow it to root alone: then the routes decide.
 */
export function bindToCard(fd: number, card: string): void {
  const { address, bytes } = scratch();
  const name = Buffer.from(card).subarray(0, CARD_NAME_BYTES_MAX);
  bytes.set(name, VALUE_OFFSET);
  setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, address + VALUE_OFFSET, name.length);
}

/** The address of this machine that a connection ends at; an IPv4 one in its own form, also on a socket for both. */
export function localAddress(fd: number): string {
  const { address, view, bytes } = scratch();
  view.setUint32(VALUE_OFFSET, 28, true);
  getsockname(fd, address, address + VALUE_OFFSET);
  if (view.getUint16(0, true) === AF_INET) return bytes.subarray(4, 8).join('.');
  const groups = Array.from({ length: 8 }, (_, index) => view.getUint16(8 + index * 2, false));
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  if (isMapped) return bytes.subarray(20, 24).join('.');
  // The form in which the system writes addresses, with the longest run of zeros left out.
  return new URL(`http://[${groups.map((group) => group.toString(16)).join(':')}]`).hostname.slice(1, -1);
}

/** What has not been sent is dropped when the socket is closed, and the peer sees a broken connection. */
export function discardOnClose(fd: number): void {
  const { address, view } = scratch();
  view.setInt32(VALUE_OFFSET, 1, true);
  view.setInt32(VALUE_OFFSET + 4, 0, true);
  setsockopt(fd, SOL_SOCKET, SO_LINGER, address + VALUE_OFFSET, 8);
}

/** The pending error of a socket, 0 when there is none: how a started connect ended. */
export function socketError(fd: number): number {
  const { address, view } = scratch();
  view.setInt32(VALUE_OFFSET, 0, true);
  view.setUint32(VALUE_OFFSET + 4, 4, true);
  getsockopt(fd, SOL_SOCKET, SO_ERROR, address + VALUE_OFFSET, address + VALUE_OFFSET + 4);
  return view.getInt32(VALUE_OFFSET, true);
}

/** Whether both ends have the same address, so that the bytes never leave this host. */
export function isSameHost(fd: number): boolean {
  const { address, view, bytes } = scratch();
  const ends = [getsockname, getpeername].map((call) => {
    view.setUint32(VALUE_OFFSET, 28, true);
    call(fd, address, address + VALUE_OFFSET);
    const isIpv6 = view.getUint16(0, true) === AF_INET6;
    return Buffer.from(isIpv6 ? bytes.subarray(8, 24) : bytes.subarray(4, 8)).toString('hex');
  });
  return ends[0] === ends[1];
}

/** No delay for small frames, and keep-alive probes so that a host that vanished is noticed. */
export function tuneConnection(fd: number): void {
  if (isSameHost(fd)) setOption(fd, SOL_SOCKET, SO_SNDBUF, SAME_HOST_SEND_BUFFER_BYTES);
  setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  setOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS);
}

/** Bytes that must wait in the socket before it counts as readable; the end of the stream always does. */
export function setReceiveLowWater(fd: number, lengthBytes: number): void {
  setOption(fd, SOL_SOCKET, SO_RCVLOWAT, lengthBytes);
}

/** Bytes beyond those on their way that a socket takes before it stops to be writable. */
export function setSendAhead(fd: number, lengthBytes: number): void {
  setOption(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, lengthBytes);
}

/** How fast the peer has taken bytes of late, in bytes a second, as the kernel measures it; 0 when it does not know. */
export function deliveryRate(fd: number): number {
  const view = tcpInfo(fd);
  if (view === undefined) return 0;
  return view.getUint32(DELIVERY_RATE_OFFSET + 4, true) * 2 ** 32 + view.getUint32(DELIVERY_RATE_OFFSET, true);
}

/** To the peer and back, in ms, as the kernel measures it; undefined when it does not know. */
export function roundTripMs(fd: number): number | undefined {
  const us = tcpInfo(fd)?.getUint32(ROUND_TRIP_OFFSET, true) ?? 0;
  return us === 0 ? undefined : us / 1000;
}

/** Struct tcp_info, until the next call; undefined where an old kernel tells less. */
function tcpInfo(fd: number): DataView | undefined {
  const { address, view } = scratch();
  const lengthOffset = VALUE_OFFSET + TCP_INFO_BYTES;
  view.setUint32(lengthOffset, TCP_INFO_BYTES, true);
  const result = getsockopt(fd, IPPROTO_TCP, TCP_INFO, address + VALUE_OFFSET, address + lengthOffset);
  if (result !== 0 || view.getUint32(lengthOffset, true) < TCP_INFO_BYTES) return undefined;
  return new DataView(view.buffer, view.byteOffset + VALUE_OFFSET, TCP_INFO_BYTES);
}

/** Bytes that may be on their way to a socket, about; the kernel then leaves its own measure of that. */
export function setReceiveWindow(fd: number, bytes: number): void {
  setOption(fd, SOL_SOCKET, SO_RCVBUF, bytes); // which the kernel doubles, for what it needs beside
}

export function shutdownWrites(fd: number): void {
  shutdown(fd, SHUT_WR);
}

export function closeSocket(fd: number): void {
  close(fd);
}
