import { describe, expect, test } from 'vitest';
import { extractExamples } from '../../../tools/doc-examples.ts';

const fence = '```';

describe('extractExamples', () => {
  test('finds the examples of a Markdown document with their lines and marks', () => {
    const text = [
      '# Title',
      `${fence}ts`,
      'const a = 1;',
      '',
      'const b = 2;',
      fence,
      `${fence}ts run`,
      'run();',
      fence,
      `${fence}sh run`,
      'p2pstore list',
      fence,
    ].join('\n');
    expect(extractExamples('README.md', text)).toEqual([
      { file: 'README.md', line: 3, language: 'ts', isRun: false, code: 'const a = 1;\n\nconst b = 2;\n' },
      { file: 'README.md', line: 8, language: 'ts', isRun: true, code: 'run();\n' },
      { file: 'README.md', line: 11, language: 'sh', isRun: true, code: 'p2pstore list\n' },
    ]);
  });

  test('leaves alone other languages, and shell that is not marked to run', () => {
    const text = `${fence}json\n{}\n${fence}\n${fence}sh\nrm -r /\n${fence}\n${fence}\nplain\n${fence}\n`;
    expect(extractExamples('README.md', text)).toEqual([]);
  });

  test('takes the indentation of the fence off, so that examples in lists work', () => {
    const text = `1. First\n   ${fence}ts\n   if (a) {\n     b();\n   }\n   ${fence}\n`;
    expect(extractExamples('README.md', text)[0]?.code).toBe('if (a) {\n  b();\n}\n');
  });

  test('reads the doc comments of a source, and nothing else of it', () => {
    const source = [
      'const text = `',
      `${fence}ts`,
      'not an example',
      fence,
      '`;',
      '/**',
      ' * Opens it.',
      ' *',
      ' * @example Open',
      ` * ${fence}ts`,
      ' * await using store = open({',
      " *   uri: 'memory:',",
      ' * });',
      ` * ${fence}`,
      ' */',
      'export const a = 1;',
    ].join('\n');
    expect(extractExamples('src/a.ts', source)).toEqual([
      {
        file: 'src/a.ts',
        line: 11,
        language: 'ts',
        isRun: false,
        code: "await using store = open({\n  uri: 'memory:',\n});\n",
      },
    ]);
  });

  test('refuses a fence that is not closed', () => {
    expect(() => extractExamples('README.md', `text\n${fence}ts\nconst a = 1;\n`)).toThrow('line 2');
  });
});
