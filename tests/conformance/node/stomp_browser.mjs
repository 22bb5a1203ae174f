// stompjs in Chromium: `node stomp_browser.mjs CHROMIUM ADDRESS PAGE TRANSPORT...`. The page is one of the
// server or of another site; the transports are "plain" and those of sockjs-client, one after the
// other. sockjs-client is the server's own copy.
import { launch } from './browser.mjs';

const [executablePath, address, origin, ...transports] = process.argv.slice(2);
const say = (step, result = null) => console.log(JSON.stringify({ step, result }));

const browser = await launch(executablePath);
try {
  for (const transport of transports) {
    const page = await browser.newPage();
    await page.route(`${origin}/page`, (route) =>
      route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>test</title>' }),
    );
    await page.exposeFunction('say', say);
    await page.goto(`${origin}/page`);
    await page.addScriptTag({ path: 'node_modules/@stomp/stompjs/bundles/stomp.umd.js' });
    await page.addScriptTag({ url: `http://${address}/static/sockjs.min.js` });
    await page.addScriptTag({ path: 'stomp_scenario.js' });
    const seen = await page.evaluate(
      ([address, transport]) => {
        const makeSocket = () =>
          transport === 'plain'
            ? new WebSocket(`ws://${address}/ws`, ['v12.stomp', 'v11.stomp', 'v10.stomp'])
            : new SockJS(`http://${address}/ws`, null, { transports: [transport] });
        return stompScenario(StompJs, makeSocket, '1.2', say);
      },
      [address, transport],
    );
    say('done', seen);
    await page.close();
  }
} finally {
  await browser.close();
}
