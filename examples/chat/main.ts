/** @file The chat page: brings model, conversation and controls together. */
import { type DebugFlags, DeviceLimitError, type Fit, parseDebugFlags } from '../../src/index.ts';
import { createChat } from './chat.ts';
import { acceptDrops, embedded } from './checkpoints.ts';
import { createComposer } from './composer.ts';
import { byId } from './dom.ts';
import { showFacts, showFigures } from './figures.ts';
import { followEnd } from './follow-end.ts';
import { formatName } from './format.ts';
import { setUpKeptModels } from './kept-models.ts';
import { createLoadingCard } from './loading-card.ts';
import { setUpModelDialog } from './model-dialog.ts';
import { type Checkpoint, createModelHost } from './model-host.ts';
import { errorCard, type NoticeAction, noticeCard } from './notices.ts';
import { createSettings } from './settings.ts';
import { showPrompts } from './welcome.ts';

const dismiss: NoticeAction = { label: 'Dismiss', run: () => undefined };

const welcome = byId('welcome', HTMLElement);
const facts = byId('model-facts', HTMLElement);
const conversation = byId('conversation', HTMLElement);
const figures = byId('figures', HTMLElement);
const notices = byId('notices', HTMLElement);
const status = byId('status', HTMLElement);
const modelButton = byId('model-button', HTMLElement);
const modelName = byId('model-name', HTMLElement);
const modelDot = byId('model-dot', HTMLElement);
const debug = readDebugFlags();
const settings = createSettings();
const goToEnd = followEnd(byId('scroller', HTMLElement), conversation, byId('to-end', HTMLElement));

const chat = createChat(conversation, {
  model: () => host.current?.model,
  systemPrompt: () => settings.systemPrompt,
  options: () => ({
    ...settings.chatOptions,
    ...(host.current?.model.info.canToggleThinking ? { enableThinking: composer.isThinking } : {}),
  }),
  onChange: refresh,
  onResult(result) {
    if (host.current) showFigures(figures, host.current.model.info, result);
  },
});

const composer = createComposer((question) => {
  notices.replaceChildren();
  chat.ask(question);
  goToEnd();
}, chat.stop);

const loadingCard = createLoadingCard(() => host.cancel());

const keptModels = setUpKeptModels({
  onCheckpoint: load,
  onError: (error) => show(errorCard(error, [dismiss])),
});

const modelDialog = setUpModelDialog({
  onCheckpoint: load,
  onOptions() {
    if (!host.current) return;
    const { name, source, isKept } = host.current.checkpoint;
    load({ name, source, isKept });
  },
  onError: (error) => show(errorCard(error, [dismiss])),
});

const options = async ({ isKept }: Checkpoint) => ({
  debug: debug.flags,
  ...modelDialog.options,
  ...(isKept ? { store: await keptModels.store() } : {}),
});
let fit: Fit | undefined;
const host = createModelHost(options, {
  onLoading({ name }) {
    notices.replaceChildren();
    fit = undefined;
    loadingCard.show(name);
    refresh();
  },
  onProgress: loadingCard.update,
  onFit(found) {
    fit = found;
    loadingCard.showFit(found);
  },
  onReady({ checkpoint, model }) {
    chat.stop();
    loadingCard.hide();
    showModel();
    settings.showDefaults(model.info.samplingDefaults);
    composer.showThinkingSwitch(model.info.canToggleThinking);
    showPrompts(checkpoint.name.startsWith('tiny-'), composer.write); // this project's own test models
    status.textContent = `${checkpoint.name} is ready`;
    if (chat.numTurns > 0) chat.note(`From here on: ${checkpoint.name}`);
    // Where the focus is after opening the page or closing the sheet; anywhere else the reader is busy.
    if ([document.body, modelButton].includes(document.activeElement as HTMLElement)) composer.focus();
  },
  onFailed(error, checkpoint, released) {
    loadingCard.hide();
    const retry = { label: 'Try again', run: () => load(checkpoint) };
    const smaller = error instanceof DeviceLimitError && fit?.best ? [loadAs(checkpoint, fit.best)] : [];
    show(errorCard(error, [...smaller, retry, ...(released ? [reload(released)] : []), dismiss]));
  },
  onCancelled(released) {
    loadingCard.hide();
    status.textContent = 'Loading was cancelled';
    if (!released) return;
    const text = `${released.name} had to make room on the GPU, so no model is loaded now.`;
    show(noticeCard('Loading was cancelled', text, [reload(released)]));
  },
  onGone: showModel,
  onLost(error, checkpoint) {
    show(errorCard(error, [reload(checkpoint)]));
  },
});

/** A mistyped flag is reported, and the page works without flags. */
function readDebugFlags(): { flags: DebugFlags; error?: unknown } {
  try {
    return { flags: parseDebugFlags(new URLSearchParams(location.search)) };
  } catch (error) {
    return { flags: {}, error };
  }
}

function load(checkpoint: Checkpoint): void {
  void host.load(checkpoint);
}

function reload(checkpoint: Checkpoint): NoticeAction {
  return { label: `Load ${checkpoint.name} again`, run: () => load(checkpoint) };
}

function loadAs(checkpoint: Checkpoint, choice: NonNullable<Fit['best']>): NoticeAction {
  const label = `Load it ${formatName(choice.weights)}, ${choice.contextLength.toLocaleString('en')} tokens of context`;
  return { label, run: () => load({ ...checkpoint, choice }) };
}

function show(card: HTMLElement): void {
  notices.replaceChildren(card);
}

/** Shows which model is loaded, or that none is. */
function showModel(): void {
  const loaded = host.current;
  modelName.textContent = loaded?.checkpoint.name ?? 'No model';
  modelDot.classList.toggle('is-on', loaded !== undefined);
  if (loaded) {
    showFigures(figures, loaded.model.info, undefined);
    showFacts(facts, loaded.checkpoint.name, loaded.model.info);
  } else {
    figures.replaceChildren();
    facts.replaceChildren();
  }
  refresh();
}

function refresh(): void {
  composer.setState(chat.isAnswering ? 'answering' : host.current ? 'idle' : 'unavailable');
  welcome.hidden = chat.numTurns > 0;
}

byId('new-chat', HTMLButtonElement).addEventListener('click', () => {
  chat.clear();
  composer.focus();
});
acceptDrops(byId('drop-hint', HTMLElement), load);
showPrompts(true, composer.write);
load(embedded[0]);
if (debug.error) show(errorCard(debug.error, [dismiss]));
