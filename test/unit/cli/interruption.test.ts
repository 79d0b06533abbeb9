import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { Interruption } from '../../../src/cli/interruption.ts';

function setUp() {
  const emitter = new EventEmitter() as unknown as NodeJS.Process;
  const exits: number[] = [];
  return { emitter, exits, interruption: new Interruption({ process: emitter, exit: (code) => exits.push(code) }) };
}

describe('Interruption', () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s aborts the signal, and does not end the process', (name) => {
    const { emitter, exits, interruption } = setUp();
    emitter.emit(name, name);
    expect(interruption.signal.reason).toMatchObject({ name: 'AbortError', message: `Interrupted by ${name}` });
    expect(exits).toEqual([]);
  });

  test('a second signal ends the process, one of the same moment does not', async () => {
    const { emitter, exits } = setUp();
    emitter.emit('SIGINT', 'SIGINT');
    emitter.emit('SIGTERM', 'SIGTERM');
    expect(exits).toEqual([]);
    await delay(150); // the only thing that tells the two apart is time
    emitter.emit('SIGINT', 'SIGINT');
    expect(exits).toEqual([130]);
  });

  test('wait() resolves at the interruption, also at one before', async () => {
    const { emitter, interruption } = setUp();
    const waiting = interruption.wait();
    emitter.emit('SIGINT', 'SIGINT');
    await waiting;
    await interruption.wait();
  });

  test('endWith() interrupts when the input ends, and again changes nothing', async () => {
    const { exits, interruption } = setUp();
    const input = new PassThrough();
    interruption.endWith(input);
    expect(interruption.signal.aborted).toBe(false);
    input.end();
    await interruption.wait();
    await delay(150); // 'close' comes after 'end', and counts as the same
    expect(exits).toEqual([]);
  });

  test('dispose stops listening', () => {
    const { emitter, interruption } = setUp();
    const input = new PassThrough();
    interruption.endWith(input);
    interruption[Symbol.dispose]();
    emitter.emit('SIGINT', 'SIGINT');
    expect(interruption.signal.aborted).toBe(false);
    expect(input.destroyed).toBe(true);
    expect(emitter.listenerCount('SIGINT')).toBe(0);
  });
});
