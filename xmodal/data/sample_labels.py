"""The vocabulary of the sample: label names of our own, and how common each label is."""

import numpy as np

# Each topic, most frequent first: its general label, then the things in it. A thing is a label by
# itself and together with every aspect ("Piano", "Piano lesson").
_TOPICS = """
Gaming: Racing simulator, Puzzle platformer, Card duel, Chess, Pinball, Arcade, Board game, Strategy
map, Space shooter, Farm simulator, Role-play quest, Dungeon, Trading card, Console, Joystick, Maze;
Music: Piano, Guitar, Violin, Drums, Choir, Flute, Trumpet, Cello, Accordion, Harp, Saxophone,
Banjo, Orchestra, Brass band, Jazz trio, Folk song;
Vehicles: Motorcycle, Truck, Tractor, Sports car, Bus, Bicycle, Scooter, Sailboat, Helicopter, Van,
Steam engine, Tram, Canoe, Glider, Excavator, Caravan;
Sport: Football, Basketball, Tennis, Swimming, Running, Boxing, Skiing, Skating, Volleyball,
Archery, Gymnastics, Rowing, Climbing, Handball, Golf, Fencing;
Animals: Dog, Cat, Horse, Parrot, Rabbit, Elephant, Dolphin, Tortoise, Goat, Owl, Bee, Hamster, Fox,
Penguin, Butterfly, Cow;
Food: Bread, Soup, Cake, Salad, Noodle, Cheese, Coffee, Pancake, Barbecue, Chocolate, Curry, Pizza,
Ice cream, Dumpling, Tea, Pickle;
Nature: River, Forest, Mountain, Waterfall, Beach, Desert, Storm, Volcano, Lake, Glacier, Meadow,
Coral reef, Cave, Sunrise, Snowfall, Marsh;
Technology: Smartphone, Laptop, Camera, Robot, Printer, Headphones, Radio, Drone, Microscope,
Telescope, Tablet, Projector, Keyboard, Battery, Circuit board, Amplifier;
Travel: City, Castle, Harbour, Railway, Airport, Island, Village, Temple, Bridge, Campsite, Hotel,
Lighthouse, Street, Ferry, Vineyard, Old town;
Fashion: Hairstyle, Make-up, Dress, Shoe, Handbag, Jewellery, Nail polish, Perfume, Hat, Scarf,
Wedding gown, Tailoring, Costume, Swimwear, Sunglasses, Denim;
Crafts: Pottery, Knitting, Origami, Woodwork, Painting, Drawing, Candle, Quilt, Calligraphy,
Leather, Beadwork, Sculpture, Glassblowing, Embroidery, Paper model, Basketry;
Home: Kitchen, Garden, Bathroom, Furniture, Greenhouse, Roof, Fireplace, Staircase, Carpet, Balcony,
Plumbing, Lawn, Bookshelf, Window, Wallpaper, Fence
"""
_ASPECTS = """
lesson review festival contest tutorial show exhibition workshop documentary history collection club
museum market tour challenge interview demonstration championship repair design photography news
parade school studio fair guide restoration competition rehearsal trivia award convention experiment
event podcast comedy animation ceremony trailer compilation training course shop auction factory
advertisement rescue record holiday safety science art culture tradition laboratory archive
broadcast project diary expedition park family
"""


def compose_labels(classes: int) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Make labels so that the one of rank r is on clips in proportion to 1 / (r + 1).

    Returns the names of the classes, of which t is at first the general label of topic t; the topic
    of each; the share of clips of each topic; how often each class is drawn within its topic.
    """
    topics = [topic.split(": ") for topic in " ".join(_TOPICS.split()).split("; ")]
    weight = 1 / np.arange(2.0, classes + 2)
    share = weight[: len(topics)] / weight[: len(topics)].sum()
    topic = np.arange(classes)
    held = np.zeros(len(topics))
    for index in range(len(topics), classes):  # joins the topic that lacks most of its share
        topic[index] = (held / share).argmin()
        held[topic[index]] += weight[index]
    weight[: len(topics)] = held  # the general label is drawn first as often as all the others
    names = np.empty(classes, object)
    for number, (general, listed) in enumerate(topics):
        things = listed.split(", ")
        pairs = [f"{thing} {aspect}" for aspect in _ASPECTS.split() for thing in things]
        members = np.flatnonzero(topic == number)
        names[members] = [general, *things, *pairs][: len(members)]
    return names.tolist(), topic, share, weight
