/** Every flag of the command line, described once: for the parser, for `--help` and for docs/cli.md. */

export interface OptionSpec {
  /** As commander takes it: `--metadata <uri>`, `-w, --watch`. */
  readonly flags: string;
  readonly summary: string;
  /** What holds when neither flag nor environment variable is given, in words; absent: nothing. */
  readonly fallback?: string;
  /** Environment variable that is read when the flag is absent. */
  readonly variable?: string;
}

export type OptionKey =
  | 'metadata'
  | 'segment'
  | 'nicMatrix'
  | 'transports'
  | 'dataPort'
  | 'peerPort'
  | 'maxUpload'
  | 'maxDownload'
  | 'mooncakeMirror'
  | 'shardSize'
  | 'pieceSize'
  | 'receivers'
  | 'timeout'
  | 'json'
  | 'quiet'
  | 'logLevel'
  | 'name'
  | 'force'
  | 'output'
  | 'wait'
  | 'seed'
  | 'watch'
  | 'interval'
  | 'verify'
  | 'untilStdinEnds'
  | 'listen'
  | 'metricsListen'
  | 'peers'
  | 'size';

export const OPTIONS: Readonly<Record<OptionKey, OptionSpec>> = {
  metadata: {
    flags: '--metadata <uri>',
    summary:
      'where stores find each other: etcd://host:2379[,host:2379...] or redis://host:6379 across machines, local: or local:/folder on one machine',
    fallback: 'local:',
    variable: 'P2PSTORE_METADATA',
  },
  segment: {
    flags: '--segment <host:port>',
    summary: 'name of this store, unique in the cluster; others reach it at this host',
    fallback: 'an address of this machine and the process id',
    variable: 'P2PSTORE_SEGMENT',
  },
  nicMatrix: {
    flags: '--nic-matrix <file|json>',
    summary: 'which network interfaces serve which memory, such as {"cpu:0":[["eth0","eth1"],["eth2"]]}',
    fallback: 'all usable interfaces',
    variable: 'P2PSTORE_NIC_MATRIX',
  },
  transports: {
    flags: '--transports <names>',
    summary:
      'how bytes may travel, the preferred way first: loopback (same process), local (same host), rdma, tcp; others may always come by tcp',
    fallback: 'all that work here, in that order',
    variable: 'P2PSTORE_TRANSPORTS',
  },
  dataPort: {
    flags: '--data-port <port>',
    summary: 'TCP port that serves bytes to others',
    fallback: 'any free one',
  },
  peerPort: {
    flags: '--peer-port <port>',
    summary: 'TCP port that tells others what is here',
    fallback: 'any free one',
  },
  mooncakeMirror: {
    flags: '--mooncake-mirror <on|off>',
    summary: "with etcd: also lists objects where Mooncake's stores look for them, so that they can pull them",
    fallback: 'on',
    variable: 'P2PSTORE_MOONCAKE_MIRROR',
  },
  shardSize: {
    flags: '--shard-size <size>',
    summary: 'how objects are cut, a power of two up to 4GiB',
    fallback: '64MiB',
    variable: 'P2PSTORE_SHARD_SIZE',
  },
  pieceSize: {
    flags: '--piece-size <size>',
    summary: 'what is transferred and verified as one, a power of two from 4KiB to the shard size',
    fallback: 'chosen by size, link and --receivers',
  },
  receivers: {
    flags: '--receivers <count>',
    summary: 'how many will pull at the same time; the more, the smaller the pieces',
    fallback: '64',
  },
  timeout: {
    flags: '--timeout <duration>',
    summary: 'gives up with exit code 4 when registering or pulling takes longer, such as 60s or 5m',
    fallback: 'no limit',
    variable: 'P2PSTORE_TIMEOUT',
  },
  json: { flags: '--json', summary: 'prints one JSON event a line on standard output' },
  quiet: { flags: '--quiet', summary: 'prints nothing but errors' },
  logLevel: {
    flags: '--log-level <level>',
    summary:
      'writes what the store does to standard error: debug, info, warn or error; debug also adds stacks to errors',
    fallback: 'no log',
    variable: 'P2PSTORE_LOG_LEVEL',
  },
  maxUpload: {
    flags: '--max-upload <rate>',
    summary: 'sends no more than this, over all objects and peers: 100MB/s, 1GiB/s or 800Mbit/s',
    fallback: 'no limit',
    variable: 'P2PSTORE_MAX_UPLOAD',
  },
  maxDownload: {
    flags: '--max-download <rate>',
    summary: 'takes no more than this, over all objects and peers: 100MB/s, 1GiB/s or 800Mbit/s',
    fallback: 'no limit',
    variable: 'P2PSTORE_MAX_DOWNLOAD',
  },
  name: {
    flags: '--name <name>',
    summary: 'name to publish under; that of a folder ends in /, and several paths go below it',
    fallback: 'the last part of the path',
  },
  force: { flags: '--force', summary: 'publishes even over a name that is live' },
  output: {
    flags: '--output <path>',
    summary: 'file to write, or folder for a name that ends in /; a single object goes into a folder that exists',
  },
  wait: {
    flags: '--wait',
    summary: 'waits until the object, or the first one below a prefix, is published, at most for --timeout, then pulls',
  },
  seed: { flags: '--seed', summary: 'goes on serving what was pulled until interrupted' },
  watch: { flags: '-w, --watch', summary: 'goes on showing it until interrupted, which is exit code 0' },
  interval: {
    flags: '--interval <duration>',
    summary: 'time from one status to the next with --watch, 100ms to 1h',
    fallback: '1s',
  },
  verify: {
    flags: '--verify <algorithm>',
    summary: 'how every piece is checked: xxh64, blake3 or none; a get checks by what was published, or not at all',
    fallback: 'xxh64',
  },
  untilStdinEnds: {
    flags: '--until-stdin-ends',
    summary: 'also stops when standard input ends, so that a program that started this one cannot leave it behind',
  },
  listen: {
    flags: '--listen <host:port>',
    summary: 'address to serve at; port 0 means any free one',
    fallback: '127.0.0.1:8080',
  },
  metricsListen: {
    flags: '--metrics-listen <host:port>',
    summary: 'answers GET /metrics there, for Prometheus, while the command runs; port 0 means any free one',
    fallback: 'no metrics',
    variable: 'P2PSTORE_METRICS_LISTEN',
  },
  peers: { flags: '--peers <count>', summary: 'how many processes pull at once, 1 to 16', fallback: '4' },
  size: { flags: '--size <size>', summary: 'size of the checkpoint that is made, at least 64KiB', fallback: '512MiB' },
};

/** What every command that opens a store understands. */
export const COMMON_OPTIONS: readonly OptionKey[] = [
  'metadata',
  'segment',
  'nicMatrix',
  'transports',
  'shardSize',
  'timeout',
  'json',
  'quiet',
  'logLevel',
];

/** What commands that serve understand besides. Without variables: two processes cannot share a port. */
export const PORT_OPTIONS: readonly OptionKey[] = ['dataPort', 'peerPort'];

/** Of commands that move bytes. */
export const TRANSFER_OPTIONS: readonly OptionKey[] = ['maxUpload', 'maxDownload', 'mooncakeMirror', 'metricsListen'];

export type VariableKey = 'etcdUser' | 'etcdPassword' | 'etcdCa' | 'etcdCertificate' | 'etcdKey';

/** Environment variables without a flag: secrets do not belong on a command line that others can list. */
export const VARIABLES: Readonly<Record<VariableKey, { readonly variable: string; readonly summary: string }>> = {
  etcdUser: { variable: 'P2PSTORE_ETCD_USER', summary: 'user name for etcd' },
  etcdPassword: { variable: 'P2PSTORE_ETCD_PASSWORD', summary: 'password for etcd' },
  etcdCa: { variable: 'P2PSTORE_ETCD_CA', summary: 'file with the certificate authority of etcd, PEM' },
  etcdCertificate: { variable: 'P2PSTORE_ETCD_CERT', summary: 'file with the client certificate for etcd, PEM' },
  etcdKey: { variable: 'P2PSTORE_ETCD_KEY', summary: 'file with the key of that certificate, PEM' },
};
