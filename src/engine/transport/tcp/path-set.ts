/** The paths to one peer: which of them are used now, and which should be tried. */
import { selectPaths } from '../../paths/path-choice.ts';
import type { TcpPath } from './tcp-path.ts';

export class PathSet {
  readonly all: readonly TcpPath[];
  /** Whether its paths are pairs of cards; else the system chooses the way, and there is one. */
  readonly isRouted: boolean;
  #usable: readonly TcpPath[] = [];
  /** Those that failed since anything came from the peer. */
  readonly #failed = new Set<TcpPath>();

  /** @param paths - At least one; a single one without a route, or all with. */
  constructor(paths: readonly TcpPath[]) {
    this.all = paths;
    this.isRouted = paths.some(({ route }) => route !== undefined);
    this.refresh();
  }

  /** What slices go over, in the order of preference. */
  get usable(): readonly TcpPath[] {
    return this.#usable;
  }

  /** To be called when a path came or went. */
  refresh(): void {
    this.#usable = selectPaths(this.all.filter(({ isUp }) => isUp));
  }

  /** Paths that are worth a try now. With none that is used, those are tried that failed long ago. */
  dueProbes(nowMs: number): TcpPath[] {
    if (!this.isRouted) return [];
    const isUrgent = this.#usable.length === 0;
    const isCandidate = (path: TcpPath): boolean => {
      if (path.isUp || path.isProbing) return true;
      if (isUrgent) return path.health.state !== 'down' && !this.#failed.has(path);
      return path.health.mayBeProbed(nowMs);
    };
    return selectPaths(this.all.filter(isCandidate)).filter(({ isUp, isProbing }) => !isUp && !isProbing);
  }

  /** Whether other paths carry slices. */
  hasOthers(path: TcpPath): boolean {
    return this.#usable.some((other) => other !== path);
  }

  /** Whether another path has brought bytes in so many ms. */
  hasOthersThatDeliver(path: TcpPath, withinMs: number, nowMs: number): boolean {
    return this.#usable.some((other) => other !== path && nowMs - other.lastBytesMs < withinMs);
  }

  onFailed(path: TcpPath): void {
    this.#failed.add(path);
    this.refresh();
  }

  onDelivered(): void {
    if (this.#failed.size > 0) this.#failed.clear();
  }

  /** Whether every path has failed, and nothing came in between. */
  get haveAllFailed(): boolean {
    return this.all.every((path) => this.#failed.has(path) || path.health.state === 'down');
  }

  /** Forgets what was learnt, so that the next slices find all paths worth a try. */
  reset(): void {
    this.#failed.clear();
    for (const path of this.all) path.reset();
  }

  /** Why none works: the last fault of each. */
  describeFaults(): string {
    const faults = this.all.map(({ name, health }) => `${name}: ${health.lastFault ?? 'not tried'}`);
    return `no path works (${faults.join('; ')})`;
  }
}
