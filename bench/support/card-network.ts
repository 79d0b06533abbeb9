/**
 * Two hosts with several cards each, on one machine: a network namespace for each host, a third one with a bridge for
 * each pair of cards. Cards may be shaped, cut in three ways, and healed. Takes root.
 */
import { ip, run, tc } from '../lab/commands.ts';
import { namespaceName } from '../lab/names.ts';
import { CONGESTION_CONTROL } from '../lab/network.ts';
import { tearDown, tearDownStale } from '../lab/teardown.ts';

export type HostName = 'left' | 'right';

/**
 * `down`: the interface is switched off. `cable`: its carrier is lost. `silent`: packets are dropped, and nobody is told.
 */
export type Cut = 'down' | 'cable' | 'silent';

export interface CardNetworkOptions {
  /** For each card its speed in bits a second, both ways; undefined: not shaped. */
  readonly cards: readonly (number | undefined)[];
  /** All cards are in one network; else each pair of cards has a network of its own. Default false. */
  readonly isShared?: boolean;
}

const SWITCH = 'cards';
const HOSTS: readonly HostName[] = ['left', 'right'];
/** Packets are handed over in lumps of at most this much: a whole lump fits into the burst, and needs no cutting there. */
const LUMP_BYTES = 16_384;
const BURST_BYTES = 8 * LUMP_BYTES;
const QUEUE_MS = 25;
const SETTINGS = [
  `net.ipv4.tcp_congestion_control=${CONGESTION_CONTROL}`,
  'net.ipv4.conf.all.arp_ignore=1',
  'net.ipv4.conf.all.arp_announce=2',
  'net.ipv4.conf.all.rp_filter=0',
];

/** Says what a machine lacks for it; undefined: nothing. */
export function whyNoCardNetwork(): string | undefined {
  if (process.platform !== 'linux') return 'it takes Linux, with network namespaces';
  if (process.getuid?.() !== 0) return 'network namespaces take root';
  return undefined;
}

export class CardNetwork implements AsyncDisposable {
  readonly #options: CardNetworkOptions;

  private constructor(options: CardNetworkOptions) {
    this.#options = options;
  }

  /** One at a time in a process. */
  static async open(options: CardNetworkOptions): Promise<CardNetwork> {
    await tearDownStale();
    const network = new CardNetwork(options);
    try {
      await network.#build();
      return network;
    } catch (error) {
      await network[Symbol.asyncDispose]();
      throw error;
    }
  }

  namespace(host: HostName): string {
    return namespaceName(process.pid, host);
  }

  get #switch(): string {
    return namespaceName(process.pid, SWITCH);
  }

  cardName(card: number): string {
    return `card${card}`;
  }

  address(host: HostName, card: number, family: 4 | 6 = 4): string {
    const number = host === 'left' ? 1 : 2;
    if (this.#options.isShared === true)
      return family === 4 ? `10.78.0.${10 * number + card}` : `fd78::${number}${card}`;
    return family === 4 ? `10.78.${card + 1}.${number}` : `fd78:${card + 1}::${number}`;
  }

  /** A command line that runs a program on a host. */
  on(host: HostName, command: readonly string[]): readonly string[] {
    return ['ip', 'netns', 'exec', this.namespace(host), ...command];
  }

  async #build(): Promise<void> {
    const { cards, isShared = false } = this.#options;
    await ip([this.#switch, ...HOSTS.map((host) => this.namespace(host))].map((name) => `netns add ${name}`));
    const bridges = isShared ? [0] : cards.map((_, card) => card);
    await ip(
      bridges.flatMap((number) => [
        `link add br${number} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
        `link set br${number} addrgenmode none up`,
      ]),
      this.#switch,
    );
    for (const host of HOSTS) await this.#connect(host);
  }

  async #connect(host: HostName): Promise<void> {
    const { cards } = this.#options;
    const namespace = this.namespace(host);
    await ip(
      cards.map(
        (_, card) =>
          `link add ${host}${card} netns ${this.#switch} type veth peer name ${this.cardName(card)} netns ${namespace}`,
      ),
    );
    await ip(
      cards.map(
        (_, card) =>
          `link set ${host}${card} addrgenmode none gso_max_size ${LUMP_BYTES} master ${this.#bridge(card)} up`,
      ),
      this.#switch,
    );
    await run('ip', ['netns', 'exec', namespace, 'sysctl', '-q', '-w', ...SETTINGS]);
    await ip(['link set lo up', ...cards.flatMap((_, card) => this.#upLines(host, card))], namespace);
    await tc(
      cards.flatMap((rate, card) => shape(this.cardName(card), rate)),
      namespace,
    );
    await tc(
      cards.flatMap((rate, card) => shape(`${host}${card}`, rate)),
      this.#switch,
    );
  }

  #bridge(card: number): string {
    return this.#options.isShared === true ? 'br0' : `br${card}`;
  }

  #upLines(host: HostName, card: number): string[] {
    const device = this.cardName(card);
    return [
      `addr replace ${this.address(host, card)}/24 brd + dev ${device}`,
      `link set ${device} addrgenmode none gso_max_size ${LUMP_BYTES} up`,
      // An address goes when its card does, and is not looked for twice.
      `addr replace ${this.address(host, card, 6)}/64 dev ${device} nodad`,
    ];
  }

  async cut(host: HostName, card: number, cut: Cut): Promise<void> {
    if (cut === 'down') await ip([`link set ${this.cardName(card)} down`], this.namespace(host));
    else if (cut === 'cable') await ip([`link set ${host}${card} down`], this.#switch);
    else await ip([`link set ${host}${card} nomaster`], this.#switch);
  }

  async heal(host: HostName, card: number, cut: Cut): Promise<void> {
    if (cut === 'down') await ip(this.#upLines(host, card), this.namespace(host));
    else if (cut === 'cable') await ip([`link set ${host}${card} up`], this.#switch);
    else await ip([`link set ${host}${card} master ${this.#bridge(card)}`], this.#switch);
  }

  /** Bytes that each card of a host has received, with all headers. */
  async received(host: HostName): Promise<number[]> {
    const text = await run('ip', ['-n', this.namespace(host), '-s', '-j', 'link', 'show']);
    const links = JSON.parse(text) as { ifname: string; stats64: { rx: { bytes: number } } }[];
    return this.#options.cards.map(
      (_, card) => links.find(({ ifname }) => ifname === this.cardName(card))?.stats64.rx.bytes ?? 0,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await tearDown(process.pid);
  }
}

function shape(device: string, rate: number | undefined): string[] {
  if (rate === undefined) return [];
  return [`qdisc add dev ${device} root tbf rate ${Math.round(rate)}bit burst ${BURST_BYTES} latency ${QUEUE_MS}ms`];
}
