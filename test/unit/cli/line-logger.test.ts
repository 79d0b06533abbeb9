import { describe, expect, test } from 'vitest';
import { createLineLogger } from '../../../src/cli/line-logger.ts';

describe('createLineLogger', () => {
  test('writes lines of its level and above', () => {
    const lines: string[] = [];
    const logger = createLineLogger('warn', (line) => lines.push(line));
    logger.debug({}, 'a');
    logger.info({}, 'b');
    logger.warn({ count: 1 }, 'c');
    logger.error({}, 'd');
    expect(lines.map((line) => line.replace(/^\S+ /, ''))).toEqual(['warn c {"count":1}', 'error d {}']);
  });

  test('writes what JSON has no word for, and stacks only for debugging', () => {
    const fields = { address: 5n, error: Object.assign(new Error('no'), { code: 'EPERM' }) };
    const line = (level: 'debug' | 'info'): string => {
      let text = '';
      createLineLogger(level, (written) => {
        text = written;
      }).error(fields, 'failed');
      return text;
    };
    expect(line('info')).toContain('{"address":"5","error":{"message":"no","code":"EPERM"}}');
    expect(line('debug')).toContain('line-logger.test');
  });
});
