/** What `status` shows of one object: facts for programs, lines for people. */
import type { ObjectStatus, SourceFlow, SourceStatus } from '../index.ts';
import { formatTable, type OutputEvent, printable } from './output.ts';
import { formatBytes, formatCount, formatRate } from './quantities.ts';

const BAR_CELLS = 20;
/** Flows that are shown below a source, the fastest; the rest is one line. */
const FLOWS_MAX = 4;
const HEADER = ['SOURCE', 'ROLE', 'HAS', 'TAKES', 'GIVES', 'FOLLOWERS', 'STATE', 'ENDPOINT'];

function flowFacts({ segment, role, bytes, bytesPerSecond }: SourceFlow): Record<string, unknown> {
  return { segment, role, bytes, bytesPerSecond: Math.round(bytesPerSecond) };
}

function sourceFacts(source: SourceStatus): Record<string, unknown> {
  const { segment, role, state, followers, peerEndpoint } = source;
  return {
    segment,
    role,
    state,
    bytes: source.verifiedBytes,
    bytesPerSecond: Math.round(source.bytesPerSecond),
    sentBytesPerSecond: Math.round(source.sentBytesPerSecond),
    followers,
    endpoint: peerEndpoint,
    from: source.sources.map(flowFacts),
  };
}

/** One event a source. */
export function sourceEvents({ name, totalSize, sources }: ObjectStatus): OutputEvent[] {
  return sources.map((source) => ({ event: 'source', name, totalBytes: totalSize, ...sourceFacts(source) }));
}

/** All in one event, for those who watch. */
export function statusEvent(status: ObjectStatus): OutputEvent {
  const { name, totalSize, verify, sources } = status;
  return {
    event: 'status',
    name,
    totalBytes: totalSize,
    verify,
    sources: sources.length + status.sourcesNotAsked,
    complete: sources.filter(({ isComplete }) => isComplete).length,
    unreachable: sources.filter(({ state }) => state === 'unreachable').length,
    notAsked: status.sourcesNotAsked,
    bytesPerSecond: status.bytesPerSecond,
    goldBytesPerSecond: Math.round(status.goldBytesPerSecond),
    goldBytes: status.goldBytes,
    list: sources.map(sourceFacts),
  };
}

/** A summary, and a table of the sources with those that each takes from. */
export function statusLines(status: ObjectStatus): string[] {
  const { name, totalSize, verify, sources } = status;
  const rows = sources.flatMap((source) => [sourceRow(source, totalSize), ...flowRows(source.sources)]);
  return [
    `${printable(name)}: ${formatBytes(totalSize)}, verified by ${verify}`,
    ...summaryLines(status),
    ...(rows.length === 0 ? [] : formatTable(HEADER, rows)),
  ];
}

function summaryLines(status: ObjectStatus): string[] {
  const { sources, sourcesNotAsked, totalSize, bytesPerSecond, goldBytesPerSecond, goldBytes } = status;
  if (sources.length === 0) return ['Nobody serves it.'];
  const unreachable = sources.filter(({ state }) => state === 'unreachable').length;
  const counts = [
    formatCount(sources.length + sourcesNotAsked, 'source'),
    `${sources.filter(({ isComplete }) => isComplete).length} complete`,
    ...(unreachable === 0 ? [] : [`${unreachable} unreachable`]),
    ...(sourcesNotAsked === 0 ? [] : [`${sourcesNotAsked} more not asked`]),
  ].join(', ');
  const rate = bytesPerSecond < 1 ? 'nothing moves' : `${formatRate(bytesPerSecond)} in all`;
  const share =
    bytesPerSecond < 1 ? '' : `, ${Math.round((goldBytesPerSecond / bytesPerSecond) * 100)}% of it from gold`;
  const copies = goldBytes === 0 ? '' : `; gold has given ${(goldBytes / totalSize).toFixed(2)} copies`;
  return [`${counts}; ${rate}${share}${copies}`];
}

function sourceRow(source: SourceStatus, totalBytes: number): string[] {
  const { segment, role, state, verifiedBytes, bytesPerSecond, sentBytesPerSecond, followers, peerEndpoint } = source;
  const isAnswering = state !== 'unreachable';
  return [
    segment,
    role,
    formatBar(totalBytes === 0 ? 1 : verifiedBytes / totalBytes),
    rateOrDash(bytesPerSecond),
    rateOrDash(sentBytesPerSecond),
    isAnswering ? String(followers) : '-',
    state,
    peerEndpoint,
  ];
}

function flowRows(flows: readonly SourceFlow[]): string[][] {
  const sorted = flows.toSorted((a, b) => b.bytesPerSecond - a.bytesPerSecond || b.bytes - a.bytes);
  const rest = sorted.slice(FLOWS_MAX);
  const row = (label: string, role: string, of: readonly SourceFlow[]): string[] => [
    label,
    role,
    formatBytes(of.reduce((total, { bytes }) => total + bytes, 0)),
    rateOrDash(of.reduce((total, { bytesPerSecond }) => total + bytesPerSecond, 0)),
  ];
  return [
    ...sorted.slice(0, FLOWS_MAX).map((flow) => row(`  from ${flow.segment}`, flow.role, [flow])),
    ...(rest.length === 0 ? [] : [row(`  from ${rest.length} more`, '', rest)]),
  ];
}

function rateOrDash(bytesPerSecond: number): string {
  return bytesPerSecond < 1 ? '-' : formatRate(bytesPerSecond);
}

/** `##########----------  50%`; 100% only when all is there. */
function formatBar(share: number): string {
  const cells = Math.floor(share * BAR_CELLS);
  return `${'#'.repeat(cells)}${'-'.repeat(BAR_CELLS - cells)} ${String(Math.floor(share * 100)).padStart(3)}%`;
}
