// What the page of browser.rs does. It writes a line for each thing that it has found, and says when it has finished.
'use strict';

const account = [];
const write = (name, value) => account.push(`${name}: ${value}`);
const protocolOf = entry => entry.nextHopProtocol;

async function image() {
  const element = document.getElementById('image');
  await element.decode();
  write('image', `${element.naturalWidth}x${element.naturalHeight}`);
}

async function pieces() {
  const wanted = Array.from({length: PIECES}, (_, number) => `/piece/${number}`);
  const texts = await Promise.all(wanted.map(async path => (await fetch(path)).text()));
  write('pieces', texts.filter((text, number) => text === wanted[number].repeat(1000)).length);
}

async function upload() {
  const answer = await fetch('/upload', {method: 'POST', body: new Uint8Array(300000)});
  write('upload', await answer.text());
}

async function aborted() {
  const leaving = new AbortController();
  const answer = fetch('/last.svg?aborted', {signal: leaving.signal});
  setTimeout(() => leaving.abort(), 50);
  await answer.then(() => write('aborted', 'no'), error => write('aborted', error.name));
}

function chat() {
  return new Promise(resolve => {
    const socket = new WebSocket(`wss://${location.host}/chat`);
    socket.binaryType = 'arraybuffer';
    let heard = '';
    socket.onopen = () => { socket.send('hello'); socket.send(new Uint8Array(100000)); };
    socket.onmessage = ({data}) => {
      heard += typeof data === 'string' ? data : ` ${data.byteLength} bytes`;
      if (typeof data !== 'string') socket.close(1000, 'enough');
    };
    socket.onclose = ({code, wasClean}) => {
      write('chat', `${heard}, closed ${code} ${wasClean ? 'clean' : 'not clean'}`);
      resolve();
    };
  });
}

(async () => {
  write('page', protocolOf(performance.getEntriesByType('navigation')[0]));
  try {
    await image();
    write('style', getComputedStyle(document.querySelector('p')).color);
    await pieces();
    await upload();
    await aborted();
    await chat();
    const entries = performance.getEntriesByType('resource').filter(entry => !entry.name.includes('last.svg'));
    write('protocols', [...new Set(entries.map(protocolOf))].join(' '));
  } catch (error) {
    write('failed', error);
  }
  document.getElementById('found').textContent = account.join('\n') + '\n';
  await fetch('/finished', {method: 'POST'});
})();
