import { MetadataServer } from '../../metadata/http/metadata-server.ts';
import type { Command, CommandContext } from '../command.ts';
import { ExitCode } from '../exit-code.ts';
import { createLineLogger } from '../line-logger.ts';

export const metadataServerCommand: Command = {
  name: 'metadata-server',
  summary: 'serves the HTTP metadata service of Mooncake, for transfer engines',
  description:
    "Keeps in memory where transfer engines are, Mooncake's and ours, which are given its URL, and serves until interrupted. " +
    'Whoever reaches the port may change every record. It has no lists, leases and watches, so stores such as publish and get ' +
    'opens need etcd, redis or local instead.',
  operands: [],
  options: ['listen', 'json', 'quiet', 'logLevel', 'untilStdinEnds'],
  examples: [
    { line: 'p2pstore metadata-server', summary: 'For the engines of this machine' },
    { line: 'p2pstore metadata-server --listen 0.0.0.0:8080', summary: 'For those of a trusted network' },
  ],
  run: runMetadataServer,
};

async function runMetadataServer({ config, output, interruption }: CommandContext): Promise<ExitCode> {
  const { listen, logLevel } = config;
  await using server = await MetadataServer.open({
    ...listen,
    ...(logLevel !== undefined && { logger: createLineLogger(logLevel, (line) => output.log(line)) }),
  });
  output.event({ event: 'serving', metadata: server.uri });
  output.line(`Serving metadata at ${server.uri}. Ctrl-C stops.`);
  await interruption.wait();
  output.line('Stopping.');
  return ExitCode.Done;
}
