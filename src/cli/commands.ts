import type { Command } from './command.ts';
import { demoCommand } from './commands/demo.ts';
import { getCommand } from './commands/get.ts';
import { listCommand } from './commands/list.ts';
import { metadataServerCommand } from './commands/metadata-server.ts';
import { publishCommand } from './commands/publish.ts';
import { statusCommand } from './commands/status.ts';
import { topologyCommand } from './commands/topology.ts';

/** Every command, in the order of `--help`. */
export const COMMANDS: readonly Command[] = [
  demoCommand,
  publishCommand,
  getCommand,
  listCommand,
  statusCommand,
  topologyCommand,
  metadataServerCommand,
];
