#!/usr/bin/env node
/** @file The command `shaderloom`: finds the command, and prints errors as one line. */
import { USAGE as ASK_USAGE, ask } from './ask.ts';
import { USAGE as SERVE_USAGE, serveModel } from './serve.ts';

const USAGE = `usage:
  shaderloom ${SERVE_USAGE}
  shaderloom ${ASK_USAGE}

MODEL is a folder with config.json and safetensors shards, a name on Hugging Face (org/name[@revision]), or a URL. The
environment variables HF_TOKEN and HF_ENDPOINT are for names. In Node the package "webgpu" gives the GPU.`;

const [command, ...args] = process.argv.slice(2);
try {
  if (command === 'serve') await serveModel(args);
  else if (command === 'ask') await ask(args);
  else if (command === undefined || /^(--help|-h|help)$/.test(command)) console.log(USAGE);
  else {
    console.error(`There is no command ${command}.\n${USAGE}`);
    process.exitCode = 2;
  }
} catch (error) {
  const isKnown = error instanceof Error && (error.name !== 'Error' || 'code' in error);
  console.error(isKnown ? error.message : error);
  process.exitCode = 1;
}
// Dawn keeps the process alive while its instance lives, and a pipe may not have taken all output yet.
await new Promise((written) => process.stdout.write('', written));
process.exit();
