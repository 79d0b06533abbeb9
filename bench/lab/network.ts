/**
 * Hosts on a switch, on one machine: a network namespace each, tied by a veth pair to a bridge in a namespace of its own.
 *
 * The end in the host's namespace shapes what the host sends, the end at the bridge what it gets: `htb` with a small burst
 * and two queues. A small packet - a request, an answer, an acknowledgement - passes the bytes of pieces, as it does in
 * `fq_codel`, the queue of most Linux hosts, which not every kernel has. Each queue holds {@link QUEUE_MS} of traffic and
 * drops what comes on top.
 */
import { ip, run, tc } from './commands.ts';
import { namespaceName, SWITCH } from './names.ts';

/**
 * Packets are handed over in lumps of at most this much, as Linux and its cards do by default: a whole lump fits into the
 * burst, and needs no cutting there. Lumps of 16 KiB cost the machine that plays all hosts a tenth of its time.
 */
const LUMP_BYTES = 65_536;
const BURST_BYTES = 2 * LUMP_BYTES;
/** Jumbo frames, as machines that move checkpoints have them. */
export const MTU_BYTES = 9_000;
const QUEUE_MS = 50;
/** The IP length below which a packet is small is 512: these bits of it are zero then. */
const LENGTH_MASK = '0xfe00';
/** Of the link, that small packets can count on; each class may have all that the other leaves. */
const SMALL_SHARE = 0.2;
/**
 * The one that every kernel lets a namespace choose. BBR, the default of some machines, sends each of many slow connections in
 * small packets on a timer: the machine that plays all hosts then spends most of its time on them.
 */
export const CONGESTION_CONTROL = 'reno';

export interface Host {
  readonly name: string;
  readonly address: string;
  /** Bits per second; undefined: not shaped. */
  readonly uplink?: number;
  readonly downlink?: number;
}

/** What went over one host's link, in bytes with the headers of Ethernet, IP and TCP. */
export interface LinkBytes {
  /** What left the host, past its uplink. */
  readonly sent: number;
  /** What reached the host, past its downlink. */
  readonly received: number;
}

/** The address of the host of this number, from 1. */
export function hostAddress(number: number): string {
  return `10.77.${number >> 8}.${number & 255}`;
}

export class Network {
  readonly #labPid: number;

  constructor(labPid: number) {
    this.#labPid = labPid;
  }

  namespace(host: string): string {
    return namespaceName(this.#labPid, host);
  }

  async build(hosts: readonly Host[]): Promise<void> {
    const bridge = this.namespace(SWITCH);
    await ip([bridge, ...hosts.map(({ name }) => this.namespace(name))].map((name) => `netns add ${name}`));
    await ip(
      ['link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0', 'link set br0 addrgenmode none up'],
      bridge,
    );
    await ip(
      hosts.map(
        ({ name }) => `link add ${name} netns ${bridge} type veth peer name eth0 netns ${this.namespace(name)}`,
      ),
    );
    await ip(
      hosts.map(
        ({ name }) => `link set ${name} addrgenmode none mtu ${MTU_BYTES} gso_max_size ${LUMP_BYTES} master br0 up`,
      ),
      bridge,
    );
    for (const host of hosts) await this.#connect(host);
    const downlinks = hosts.flatMap(({ name, downlink }) => shape(name, downlink));
    await tc(downlinks, bridge);
  }

  async #connect({ name, address, uplink }: Host): Promise<void> {
    const namespace = this.namespace(name);
    await ip(
      [
        'link set lo up',
        `addr add ${address}/16 brd + dev eth0`,
        `link set eth0 addrgenmode none mtu ${MTU_BYTES} gso_max_size ${LUMP_BYTES} up`,
      ],
      namespace,
    );
    await tc(shape('eth0', uplink), namespace);
    const setting = `net.ipv4.tcp_congestion_control=${CONGESTION_CONTROL}`;
    await run('ip', ['netns', 'exec', namespace, 'sysctl', '-q', '-w', setting]);
  }

  /** Reads the counters of every link, by host. */
  async counters(): Promise<Map<string, LinkBytes>> {
    const text = await run('ip', ['-n', this.namespace(SWITCH), '-s', '-j', 'link', 'show']);
    const links = JSON.parse(text) as { ifname: string; stats64: { rx: { bytes: number }; tx: { bytes: number } } }[];
    return new Map(
      links.map(({ ifname, stats64: { rx, tx } }) => [ifname, { sent: rx.bytes, received: tx.bytes }] as const),
    );
  }
}

function shape(device: string, rate: number | undefined): string[] {
  if (rate === undefined) return [];
  const classOf = (id: string, parent: string, share: number, priority: number): string =>
    `class add dev ${device} parent ${parent} classid ${id} htb rate ${Math.round(share * rate)}bit ceil ${Math.round(rate)}bit ` +
    `burst ${BURST_BYTES} cburst ${BURST_BYTES} quantum ${LUMP_BYTES} prio ${priority}`;
  const queueOf = (id: string): string =>
    `qdisc add dev ${device} parent ${id} bfifo limit ${Math.round(((rate / 8) * QUEUE_MS) / 1000)}`;
  return [
    `qdisc add dev ${device} root handle 1: htb default 3`,
    classOf('1:1', '1:', 1, 0),
    classOf('1:2', '1:1', SMALL_SHARE, 0),
    classOf('1:3', '1:1', 1 - SMALL_SHARE, 1),
    queueOf('1:2'),
    queueOf('1:3'),
    `filter add dev ${device} parent 1: protocol ip u32 match u16 0 ${LENGTH_MASK} at 2 flowid 1:2`,
  ];
}
