import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describeMachine } from './machine.ts';

/** Prints rows as an aligned table; the columns are those of the first row. */
export function printTable(rows: readonly Readonly<Record<string, string>>[]): void {
  const columns = Object.keys(rows[0] ?? {});
  const width = (column: string): number => Math.max(column.length, ...rows.map((row) => row[column]?.length ?? 0));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, index) =>
        index === 0 ? cell.padEnd(width(columns[0] ?? '')) : cell.padStart(width(columns[index] ?? '')),
      )
      .join('  ');
  console.log(line(columns));
  console.log(columns.map((column) => '-'.repeat(width(column))).join('  '));
  for (const row of rows) console.log(line(columns.map((column) => row[column] ?? '')));
}

/** Writes `bench/results/<name>.json`: the machine, the options and every sample. */
export function writeReport(name: string, facts: object): void {
  const directory = path.resolve('bench/results');
  mkdirSync(directory, { recursive: true });
  const file = path.join(directory, `${name}.json`);
  writeFileSync(file, `${JSON.stringify({ machine: describeMachine(), ...facts }, null, 2)}\n`);
  console.log(`\n${file}`);
}
