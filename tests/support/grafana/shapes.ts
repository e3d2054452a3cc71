// What a dashboard's JSON may hold, by Grafana's own types: the panels that are used, with their options and fields.
import type { AnnotationQuery, Dashboard, DataQuery, DataSourceRef, FieldConfig, Panel, RowPanel } from '@grafana/schema';
import type * as heatmap from '@grafana/schema/dist/types/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen.d.ts';
import type * as stat from '@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen.d.ts';
import type * as table from '@grafana/schema/dist/types/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen.d.ts';
import type * as timeseries from '@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen.d.ts';

// JSON has the values of an enumeration, not its names, and what is not said has a default.
type Plain<T> = T extends string
  ? `${T}`
  : T extends Array<infer Item>
    ? Array<Plain<Item>>
    : T extends object
      ? { [Key in keyof T]: Plain<T[Key]> }
      : T;

type Prometheus = DataQuery & {
  datasource: DataSourceRef;
  expr: string;
  format?: 'time_series' | 'table' | 'heatmap';
  instant?: boolean;
  legendFormat?: string;
};

type Shown<Type extends string, Options, Custom> = Omit<Panel, 'type' | 'targets' | 'options' | 'fieldConfig'> & {
  type: Type;
  targets: Prometheus[];
  options: Partial<Options>;
  fieldConfig: {
    defaults: Omit<FieldConfig, 'custom'> & { custom?: Partial<Custom> };
    overrides: NonNullable<Panel['fieldConfig']>['overrides'];
  };
};

type Any =
  | (Omit<RowPanel, 'panels'> & { panels: never[] })
  | Shown<'heatmap', heatmap.Options, heatmap.FieldConfig>
  | Shown<'stat', stat.Options, never>
  | Shown<'table', table.Options, table.FieldConfig>
  | Shown<'timeseries', timeseries.Options, timeseries.FieldConfig>;

// The title's format is of the data source for Prometheus.
type Marks = AnnotationQuery<DataQuery & { expr: string }> & { titleFormat?: string };

export type Checked = Plain<
  Omit<Dashboard, 'annotations' | 'panels'> & { annotations: { list: Marks[] }; panels: Any[] }
>;
