// Lines on the chart where a session begins.

import type {
  IChartApi,
  IPrimitivePaneRenderer,
  IPrimitivePaneView,
  ISeriesPrimitive,
  SeriesAttachedParameter,
  Time,
  UTCTimestamp,
} from 'lightweight-charts';

export class SessionBreaks implements ISeriesPrimitive<Time> {
  private times: readonly UTCTimestamp[] = [];
  private color = 'gray';
  private chart: IChartApi | null = null;
  private requestUpdate: (() => void) | null = null;
  private readonly renderer: IPrimitivePaneRenderer = {
    draw: (target) => {
      const scale = this.chart?.timeScale();
      if (scale === undefined) return;
      target.useBitmapCoordinateSpace(({ context, bitmapSize, horizontalPixelRatio }) => {
        context.strokeStyle = this.color;
        context.lineWidth = Math.max(1, Math.floor(horizontalPixelRatio));
        context.setLineDash([4, 4]);
        context.beginPath();
        for (const time of this.times) {
          const x = scale.timeToCoordinate(time);
          if (x === null) continue;
          const left = Math.round((x - scale.options().barSpacing / 2) * horizontalPixelRatio) + 0.5;
          context.moveTo(left, 0);
          context.lineTo(left, bitmapSize.height);
        }
        context.stroke();
        context.setLineDash([]);
      });
    },
  };
  private readonly views: readonly IPrimitivePaneView[] = [
    { zOrder: () => 'bottom', renderer: () => this.renderer },
  ];

  attached(parameters: SeriesAttachedParameter<Time>): void {
    this.chart = parameters.chart as IChartApi;
    this.requestUpdate = parameters.requestUpdate;
  }

  detached(): void {
    this.chart = this.requestUpdate = null;
  }

  paneViews(): readonly IPrimitivePaneView[] {
    return this.views;
  }

  show(times: readonly UTCTimestamp[], color: string): void {
    this.times = times;
    this.color = color;
    this.requestUpdate?.();
  }
}
