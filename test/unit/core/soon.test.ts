import { expect, test } from 'vitest';
import { soon } from '../../../src/core/soon.ts';

test('soon() runs callbacks in order, after the caller and before the event loop goes on', async () => {
  const calls: string[] = [];
  const turned = new Promise<void>((resolve) => setImmediate(() => resolve(void calls.push('next turn'))));
  soon(() => {
    calls.push('first');
    soon(() => calls.push('from within'));
  });
  soon(() => calls.push('second'));
  calls.push('caller');
  await turned;
  expect(calls).toEqual(['caller', 'first', 'second', 'from within', 'next turn']);
});
