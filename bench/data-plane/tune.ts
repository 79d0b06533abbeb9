import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { Child } from '../support/child.ts';
import { median } from '../support/statistics.ts';
const bytes = 2 ** 30;
const runs = Number(process.argv[2] ?? 5);
const dir = mkdtempSync('/tmp/p2p-bench-');
execFileSync('gcc', ['-O2', '-pthread', 'bench/native/ceiling.c', '-o', `${dir}/ceiling`]);
const uri = `local:${dir}/meta`;
const ceiling = new Child(`${dir}/ceiling`, [String(bytes)]);
await ceiling.receive();
const server = Child.program('bench/data-plane/engine-server.ts', [String(bytes), uri]);
const { segment, address } = await server.receive<{ segment: string; address: string }>();
const client = Child.program('bench/data-plane/engine-client.ts', [String(bytes), uri, segment, address]);
await client.receive();
const gb = bytes / 1e9;
const cases: Record<string, () => Promise<{seconds:number,cpuSeconds:number}>> = {};
for (const n of [1,2,4]) {
  cases[`c ${n}`] = () => ceiling.ask(`sockets ${n} 1048576`);
  cases[`e ${n}`] = async () => { const c0 = await server.ask<{cpuSeconds:number}>('cpu'); const r = await client.ask<{seconds:number,cpuSeconds:number}>(`read ${n} 67108864`); const c1 = await server.ask<{cpuSeconds:number}>('cpu'); return {seconds:r.seconds,cpuSeconds:r.cpuSeconds+c1.cpuSeconds-c0.cpuSeconds}; };
}
if (process.argv[3]) { cases['c 4 64k'] = () => ceiling.ask('sockets 4 65536'); cases['e 4 64k'] = () => client.ask('read 4 65536 128'); }
const out: Record<string, number[]> = {}; const cpu: Record<string, number[]> = {};
for (let r = 0; r <= runs; r++) for (const [k, f] of Object.entries(cases)) { const s = await f(); if (r) { (out[k] ??= []).push(gb / s.seconds); (cpu[k] ??= []).push(s.cpuSeconds/gb); } }
for (const k of Object.keys(out)) console.log(k.padEnd(8), median(out[k]!).toFixed(2), 'cpu/GB', median(cpu[k]!).toFixed(3), out[k]!.map(x=>x.toFixed(2)).join(' '));
await client[Symbol.asyncDispose](); await server[Symbol.asyncDispose](); await ceiling[Symbol.asyncDispose]();
