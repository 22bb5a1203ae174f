// GraphiQL as a person uses it: `node graphiql.mjs CHROMIUM URL SCREENSHOT`. Each step says one line
// of JSON; after "subscribed" a trade has to come from outside.
import { launch } from './browser.mjs';

const [executablePath, url, screenshot] = process.argv.slice(2);
const say = (step, result) => console.log(JSON.stringify({ step, result }));

const browser = await launch(executablePath);
try {
  const page = await browser.newPage({ viewport: { width: 1400, height: 800 } });
  const requests = [];
  const problems = [];
  // Those of workers too.
  page.context().on('request', (request) => requests.push(request.url()));
  page.on('websocket', (socket) => requests.push(socket.url()));
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  page.on('pageerror', (error) => problems.push(String(error)));

  const execute = page.locator('.graphiql-execute-button');
  const shown = () =>
    page.evaluate(() => document.querySelector('.result-window').innerText.replaceAll('\u00a0', ' '));
  const until = (...texts) =>
    page.waitForFunction(
      (wanted) => {
        const text = document.querySelector('.result-window')?.innerText.replaceAll('\u00a0', ' ');
        return wanted.some((each) => text?.includes(each));
      },
      texts,
    );

  await page.goto(url);
  // The schema was read, so the documentation knows our types.
  await page.getByRole('button', { name: 'Show Documentation Explorer' }).click();
  await page.getByText('A GraphQL schema provides a root type for each kind of operation.').waitFor();
  await page.getByRole('button', { name: 'Hide Documentation Explorer' }).click();

  await execute.click();
  await until('"MSFT"');
  say('query', await shown());

  await page.getByRole('tab').nth(1).click();
  do {
    // GraphiQL takes a moment to notice that the operation has another name now.
    await execute.click();
    await until('"sequence": "2"', 'Unknown operation');
  } while ((await shown()).includes('Unknown operation'));
  say('subscribed', await shown());
  await until('"close": 163.25');
  say('changed', await shown());
  await page.screenshot({ path: screenshot });
  say('requests', requests);
  say('problems', problems);
} finally {
  await browser.close();
}
