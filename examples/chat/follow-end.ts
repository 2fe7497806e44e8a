/** @file Keeps the newest line in view while the reader is at the end, and never scrolls when the reader is elsewhere. */

/** Closer to the end than this counts as being there, in CSS pixels. */
const NEAR = 48;

/**
 * @param scroller the element that scrolls
 * @param content the child that grows
 * @param toEnd a button that is shown while the reader is elsewhere
 * @returns a function that goes to the end and follows it from there
 */
export function followEnd(scroller: HTMLElement, content: HTMLElement, toEnd: HTMLElement): () => void {
  let isFollowing = true;
  const distance = () => scroller.scrollHeight - scroller.clientHeight - scroller.scrollTop;
  const goToEnd = () => {
    isFollowing = true;
    scroller.scrollTop = scroller.scrollHeight;
    toEnd.hidden = true;
  };
  scroller.addEventListener('scroll', () => {
    isFollowing = distance() < NEAR;
    toEnd.hidden = isFollowing || content.childElementCount === 0;
  });
  toEnd.addEventListener('click', goToEnd);
  const observer = new ResizeObserver(() => {
    if (content.childElementCount === 0) toEnd.hidden = true;
    else if (isFollowing) goToEnd();
    else toEnd.hidden = distance() < NEAR;
  });
  observer.observe(content);
  observer.observe(scroller);
  return goToEnd;
}
