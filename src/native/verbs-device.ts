/** RDMA devices: which there are, and one that is open with its ports and protection domain. */
import { errno, errnoName, koffi } from './libc.ts';
import { Scratch } from './scratch.ts';
import { CONTEXT, DEVICE, PORT } from './verbs-layout.ts';
import { requirePointer, requireZero, verbsFunction, verbsLibraryProblem } from './verbs-library.ts';

const getDeviceList = verbsFunction<[number], number>('uintptr_t ibv_get_device_list(uintptr_t count)');
const freeDeviceList = verbsFunction<[number], void>('void ibv_free_device_list(uintptr_t list)');
const getDeviceName = verbsFunction<[number], string>('const char *ibv_get_device_name(uintptr_t device)');
const openDevice = verbsFunction<[number], number>('uintptr_t ibv_open_device(uintptr_t device)');
const closeDevice = verbsFunction<[number], number>('int ibv_close_device(uintptr_t context)');
const queryDevice = verbsFunction<[number, number], number>(
  'int ibv_query_device(uintptr_t context, uintptr_t attributes)',
);
const queryPort = verbsFunction<[number, number, number], number>(
  'int ibv_query_port(uintptr_t context, uint8_t port, uintptr_t attributes)',
);
const allocPd = verbsFunction<[number], number>('uintptr_t ibv_alloc_pd(uintptr_t context)');
const deallocPd = verbsFunction<[number], number>('int ibv_dealloc_pd(uintptr_t pd)');

const PORT_STATES = ['NOP', 'DOWN', 'INIT', 'ARMED', 'ACTIVE', 'ACTIVE_DEFER'];
const PORT_ACTIVE = 4;
const LINK_ETHERNET = 2;

/** What a device can do, as its driver says. */
export interface DeviceLimits {
  readonly maxQueuePairs: number;
  /** Requests that one queue holds. */
  readonly maxRequests: number;
  /** READs that one queue pair serves at once, and has under way at once. */
  readonly maxReadsIn: number;
  readonly maxReadsOut: number;
}

export interface PortStatus {
  readonly isActive: boolean;
  /** The driver's word for it. */
  readonly state: string;
  /** As verbs number it: 1 is 256 bytes, 5 is 4,096. */
  readonly mtu: number;
  /** One request moves at most this. */
  readonly maxMessageBytes: number;
  readonly lid: number;
  readonly isEthernet: boolean;
}

/** The functions of an open device that have no symbol, decoded once. */
export interface DeviceFunctions {
  postSend(queuePair: number, requests: number, bad: number): number;
  pollCq(queue: number, count: number, completions: number): number;
  requestNotify(queue: number, solicitedOnly: number): number;
}

export type DeviceList =
  | { readonly names: readonly string[]; readonly reason?: undefined }
  | { readonly names: readonly []; readonly reason: string };

/** Runs `use` with the array of devices, or says why there is none. */
function withDeviceList<T>(use: (list: number, count: number) => T): T | string {
  const problem = verbsLibraryProblem();
  if (problem !== undefined) return problem;
  const scratch = new Scratch(8);
  try {
    const list = getDeviceList(scratch.address);
    const code = errno();
    if (list === 0) {
      return errnoName(code) === 'ENOSYS'
        ? 'the kernel has no RDMA support, or its module ib_uverbs is not loaded'
        : `ibv_get_device_list failed with ${errnoName(code)}`;
    }
    try {
      return use(list, scratch.view.getInt32(0, true));
    } finally {
      freeDeviceList(list);
    }
  } finally {
    scratch.free();
  }
}

function devicesOf(list: number, count: number): { readonly device: number; readonly name: string }[] {
  return Array.from({ length: count }, (_, index) => {
    const device = Number(koffi().decode(BigInt(list + index * 8), 'uintptr_t'));
    return { device, name: getDeviceName(device) };
  });
}

/** Names the RDMA devices of this host, or says why there are none. Never throws. */
export function listVerbsDevices(): DeviceList {
  try {
    const names = withDeviceList((list, count) => devicesOf(list, count).map(({ name }) => name));
    if (typeof names === 'string') return { names: [], reason: names };
    return names.length > 0 ? { names } : { names: [], reason: 'this host has no RDMA device' };
  } catch (cause) {
    return { names: [], reason: cause instanceof Error ? cause.message : String(cause) };
  }
}

/** Calls a function that a device keeps in its table. */
export function deviceFunctions(context: number): DeviceFunctions {
  const { decode, proto } = koffi();
  const at = (offset: number): bigint => BigInt(decode(BigInt(context + offset), 'uintptr_t') as number | bigint);
  return {
    postSend: decode(at(CONTEXT.postSend), proto('int (uintptr_t qp, uintptr_t requests, uintptr_t bad)')),
    pollCq: decode(at(CONTEXT.pollCq), proto('int (uintptr_t cq, int count, uintptr_t completions)')),
    requestNotify: decode(at(CONTEXT.requestNotify), proto('int (uintptr_t cq, int solicited)')),
  };
}

/** An open device with one protection domain: what is made in the one works with everything made in it. */
export class VerbsDevice {
  readonly name: string;
  readonly context: number;
  readonly domain: number;
  readonly functions: DeviceFunctions;
  readonly limits: DeviceLimits;
  /** For the arguments of rare calls. */
  readonly scratch: Scratch;

  /**
   * @throws P2P_SYSTEM_CALL_FAILED The device is not there (ENODEV), or its /dev/infiniband file may not be opened.
   */
  constructor(name: string) {
    this.name = name;
    const context = withDeviceList((list, count) => {
      const found = devicesOf(list, count).find((device) => device.name === name);
      return found === undefined ? `there is no device ${name}` : openDevice(found.device);
    });
    this.context = requirePointer(typeof context === 'number' ? context : 0, `ibv_open_device ${name}`);
    this.scratch = new Scratch(4096);
    try {
      this.functions = deviceFunctions(this.context);
      this.limits = this.#queryLimits();
      this.domain = requirePointer(allocPd(this.context), 'ibv_alloc_pd');
    } catch (error) {
      closeDevice(this.context);
      this.scratch.free();
      throw error;
    }
  }

  #queryLimits(): DeviceLimits {
    const { view, address } = this.scratch;
    requireZero(queryDevice(this.context, address), 'ibv_query_device');
    return {
      maxQueuePairs: view.getInt32(DEVICE.maxQueuePairs, true),
      maxRequests: view.getInt32(DEVICE.maxRequests, true),
      maxReadsIn: view.getInt32(DEVICE.maxReadsIn, true),
      maxReadsOut: view.getInt32(DEVICE.maxReadsOut, true),
    };
  }

  /** @throws P2P_SYSTEM_CALL_FAILED The device went away, or has no such port. */
  queryPort(port: number): PortStatus {
    const { view, address, bytes } = this.scratch;
    bytes.fill(0, 0, PORT.bytes);
    requireZero(queryPort(this.context, port, address), 'ibv_query_port');
    const state = view.getInt32(PORT.state, true);
    return {
      isActive: state === PORT_ACTIVE,
      state: PORT_STATES[state] ?? `state ${state}`,
      mtu: view.getInt32(PORT.activeMtu, true),
      maxMessageBytes: view.getUint32(PORT.maxMessageBytes, true),
      lid: view.getUint16(PORT.lid, true),
      isEthernet: view.getUint8(PORT.linkLayer) === LINK_ETHERNET,
    };
  }

  /** Everything made in the device has been destroyed before. */
  close(): void {
    deallocPd(this.domain);
    closeDevice(this.context);
    this.scratch.free();
  }
}
