import { expect, test } from 'vitest';
import { createProgress, type LoadProgress } from '../../src/sources/progress.ts';

function load(totalBytes: number, totalTensors: number) {
  let time = 1000;
  const reports: LoadProgress[] = [];
  const progress = createProgress(
    totalBytes,
    totalTensors,
    (report) => reports.push(report),
    () => time,
  );
  return {
    reports,
    progress,
    wait(ms: number) {
      time += ms;
    },
    last: () => reports.at(-1)!,
  };
}

test('the first report comes before any byte, the last when all is there', () => {
  const { progress, reports, last } = load(100, 2);
  expect(reports).toEqual([
    { loadedBytes: 0, totalBytes: 100, loadedTensors: 0, totalTensors: 2, secondsLeft: undefined },
  ]);
  progress.addBytes(60);
  progress.addTensor();
  progress.addBytes(40);
  expect(reports).toHaveLength(1);
  progress.addTensor();
  expect(last()).toEqual({
    loadedBytes: 100,
    totalBytes: 100,
    loadedTensors: 2,
    totalTensors: 2,
    secondsLeft: 0,
  });
});

test('at most ten reports come in a second', () => {
  const { progress, reports, wait } = load(1_000_000, 1);
  for (let i = 0; i < 1000; i++) {
    wait(1);
    progress.addBytes(10);
  }
  expect(reports.length).toBeGreaterThanOrEqual(9);
  expect(reports.length).toBeLessThanOrEqual(11);
});

test('seconds left are right from the second report on when the rate is steady', () => {
  const { progress, wait, last } = load(1000, 1);
  for (let loaded = 10; loaded < 1000; loaded += 10) {
    wait(200);
    progress.addBytes(10);
    expect(last().secondsLeft).toBeCloseTo((1000 - loaded) / 50, 6);
  }
});

test('seconds left follow a change of the rate within some seconds, and do not jump with one late chunk', () => {
  const { progress, wait, last } = load(1_000_000, 1);
  const run = (seconds: number, rate: number) => {
    for (let i = 0; i < seconds * 5; i++) {
      wait(200);
      progress.addBytes(rate / 5);
    }
  };
  run(20, 1000);
  const steady = last().secondsLeft!;
  wait(2000);
  progress.addBytes(200);
  expect(last().secondsLeft! / steady).toBeLessThan(2); // by that chunk alone it would be 10
  run(20, 5000);
  expect(last().secondsLeft).toBeCloseTo((1_000_000 - last().loadedBytes) / 5000, -1);
});

test('nothing to load is a single report', () => {
  expect(load(0, 0).reports).toEqual([
    { loadedBytes: 0, totalBytes: 0, loadedTensors: 0, totalTensors: 0, secondsLeft: 0 },
  ]);
});

test('nobody has to listen', () => {
  const progress = createProgress(10, 1);
  progress.addBytes(10);
  progress.addTensor();
});
