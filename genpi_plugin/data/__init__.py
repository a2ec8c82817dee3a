"""From a row of the dataset to token ids and labels; knows neither torch nor axolotl."""
